//! What has no plan, why, and where.

use super::*;

/// The message and the text that it points at.
fn refused(text: &str, options: &Options) -> (String, String, Option<String>) {
    let error = planned(text, options).expect_err(text);
    let span = error.span();
    (
        error.to_string(),
        text[span.start..span.end].to_owned(),
        error.hint(),
    )
}

#[test]
fn errors_say_what_and_where() {
    let cases = [
        (
            "FROM $X\n",
            "the image name \"$X\" is empty once its variables are expanded",
            "$X",
        ),
        (
            "FROM --platform=x/y/z/w plain\n",
            "\"x/y/z/w\" is not a platform: expected os/architecture or os/architecture/variant, such as linux/arm64",
            "x/y/z/w",
        ),
        (
            "FROM ${A:?gone}\n",
            "cannot expand the value: A: gone",
            "${A:?gone}",
        ),
        (
            "FROM plain\nENV A=${B:?gone}\n",
            "cannot expand the value: B: gone",
            "${B:?gone}",
        ),
        (
            "FROM plain\nENV $A=1\n",
            "the name \"$A\" in ENV is empty once its variables are expanded",
            "$A",
        ),
        (
            "FROM plain\nEXPOSE 80 x/tcp\n",
            "\"x/tcp\" is not a port to expose: \"x\" is no port between 0 and 65535",
            "x/tcp",
        ),
        (
            "FROM plain\nVOLUME /a $A\n",
            "the path \"$A\" in VOLUME is empty once its variables are expanded",
            "$A",
        ),
        (
            "FROM plain\nSTOPSIGNAL NOPE\n",
            "\"NOPE\" is not a signal",
            "NOPE",
        ),
        (
            "FROM plain\nCOPY --chmod=abc a b\n",
            "\"abc\" is not a mode: expected octal digits up to 7777, or symbolic changes such as u=rwX,go=rX",
            "abc",
        ),
        (
            "FROM plain\nCOPY --from=7 a b\n",
            "there is no stage number 7: the Dockerfile has stages 0 to 0",
            "7",
        ),
        (
            "FROM plain\nCOPY --from=-1 a b\n",
            "there is no stage number -1: the Dockerfile has stages 0 to 0",
            "-1",
        ),
        (
            "FROM plain\nCOPY --from=0 a b\n",
            "the stages depend on each other in a circle: stage-0 -> stage-0",
            "0",
        ),
        (
            "FROM plain\nCOPY https://x/a b\n",
            "COPY cannot copy \"https://x/a\": only ADD takes URLs and git repositories",
            "https://x/a",
        ),
        ("FROM plain\nRUN []\n", "RUN has no command", "RUN []"),
        (
            "FROM --platform=windows/amd64 plain\n",
            "building for windows/amd64 is not supported yet",
            "FROM --platform=windows/amd64 plain",
        ),
        (
            "FROM broken\n",
            "the base image's trigger \"ONBUILD NONSENSE x\" is no valid instruction: dockerfile line 1: unknown instruction: NONSENSE",
            "FROM broken",
        ),
        (
            "FROM plain AS a\nCOPY --from=b x y\nFROM plain AS b\nCOPY --from=a x y\nFROM plain\n",
            "the stages depend on each other in a circle: a -> b -> a",
            "a",
        ),
        (
            "FROM plain AS a\nCOPY --from=b x y\nFROM plain AS b\nFROM a\n",
            "stage \"b\" comes after stage \"a\", which copies from it",
            "b",
        ),
        (
            "FROM plain AS a\nONBUILD COPY --from=b x y\nFROM a AS b\n",
            "stage \"b\" comes after stage \"b\", which copies from it",
            "b",
        ),
    ];
    for (text, message, place) in cases {
        let (found, found_place, _) = refused(text, &options());
        assert_eq!(
            (found.as_str(), found_place.as_str()),
            (message, place),
            "{text}"
        );
    }
}

#[test]
fn what_is_not_supported_is_refused() {
    let cases = [
        ("RUN --device=x y", "RUN --device"),
        ("COPY --from=scratch a b", "COPY --from=scratch"),
    ];
    for (instruction, what) in cases {
        let (message, _, _) = refused(&format!("FROM plain\n{instruction}\n"), &options());
        assert_eq!(
            message,
            format!("{what} is not supported yet"),
            "{instruction}"
        );
    }
    // The defaults, written out, are what we do.
    for instruction in [
        "RUN --network=default x",
        "RUN --security=sandbox x",
        "ADD --link=false a b",
    ] {
        last(&format!("FROM plain\n{instruction}\n"), &options());
    }
    // An instruction that is only stored is not refused.
    last("FROM plain\nONBUILD RUN --device=x y\n", &options());
    // Nor is one in a stage that nothing needs.
    last("FROM plain\nRUN --device=x y\nFROM plain\n", &options());
}

#[test]
fn targets_are_suggested() {
    let find = |target: &str| {
        let options = Options {
            target: Some(target.to_owned()),
            ..options()
        };
        refused(
            "FROM plain AS build\nFROM plain\nFROM plain AS release\n",
            &options,
        )
    };
    let (message, place, hint) = find("biuld");
    assert_eq!(message, "the Dockerfile has no stage \"biuld\" to build");
    assert_eq!(place, "FROM plain AS release");
    assert_eq!(hint.as_deref(), Some("did you mean build?"));
    assert_eq!(
        find("3").2.as_deref(),
        Some("the stages are build, stage-1, release")
    );
}

#[test]
fn stages_are_suggested_where_an_image_name_is_wrong() {
    let (message, place, hint) = refused("FROM plain AS build\nFROM Biuld\n", &options());
    assert!(message.contains("upper-case"), "{message}");
    assert_eq!(place, "Biuld");
    assert_eq!(hint.as_deref(), Some("did you mean build?"));
}

#[test]
fn an_outline_must_be_complete() {
    let dockerfile = parse(b"FROM trigger\n").unwrap();
    let outline = super::super::outline(&dockerfile, &options(), &[]).unwrap();
    let error = plan(&dockerfile, &outline, &[], &options()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the config of the image trigger is not known"
    );
    let config = images()["docker.io/library/trigger"].clone();
    let error = plan(&dockerfile, &outline, &[config], &options()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the config of the image tools is not known"
    );
}
