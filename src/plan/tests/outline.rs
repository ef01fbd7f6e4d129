//! Stages, images and their order.

use super::*;

fn reachable(text: &str, target: Option<&str>) -> (Vec<usize>, Vec<String>) {
    let options = Options {
        target: target.map(str::to_owned),
        ..options()
    };
    let (outline, _) = outlined(text, &options).unwrap_or_else(|error| panic!("{text}: {error}"));
    let numbers = (0..outline.stages.len()).filter(|number| outline.stages[*number].reachable);
    let images = outline.images.iter().map(|image| {
        let kind = if image.is_base { "" } else { " copied" };
        format!("{} {}{kind}", image.reference.repository(), image.platform)
    });
    (numbers.collect(), images.collect())
}

#[test]
fn only_what_the_target_needs_is_reachable() {
    let text = "FROM plain AS base\nFROM rich AS unused\nFROM base AS Build\nCOPY --from=unused2 a b\n\
        FROM tools AS unused2\nFROM scratch AS out\nCOPY --from=BUILD a b\nCOPY --from=0 c d\nFROM tools\n";
    let text = text.replace("COPY --from=unused2 a b\n", "");
    let all = "library/plain linux/arm64";
    let cases: [(Option<&str>, &[usize], &[&str]); 7] = [
        (None, &[5], &["library/tools linux/arm64"]),
        (Some(""), &[5], &["library/tools linux/arm64"]),
        (Some("out"), &[0, 2, 4], &[all]),
        (Some("OUT"), &[0, 2, 4], &[all]),
        (Some("4"), &[0, 2, 4], &[all]),
        (Some("base"), &[0], &[all]),
        (Some("unused"), &[1], &["library/rich linux/arm64"]),
    ];
    for (target, stages, images) in cases {
        let (found, found_images) = reachable(&text, target);
        assert_eq!(found, stages, "{target:?}");
        assert_eq!(found_images, images, "{target:?}");
    }
}

#[test]
fn images_are_named_once_for_each_platform() {
    let text = "FROM --platform=linux/amd64 plain AS a\nFROM plain AS b\nFROM plain:latest\n\
        COPY --from=plain x y\nCOPY --from=tools x y\nCOPY --from=a x y\nCOPY --from=b x y\n";
    let (_, images) = reachable(text, None);
    assert_eq!(
        images,
        [
            "library/plain linux/amd64",
            "library/plain linux/arm64",
            "library/tools linux/arm64 copied",
        ]
    );
}

#[test]
fn triggers_may_need_more_images_and_stages() {
    let text = "FROM rich AS zero\nFROM trigger AS tools\nFROM trigger2\n";
    let (stages, images) = reachable(text, None);
    assert_eq!(stages, [0, 2]);
    assert_eq!(
        images,
        [
            "library/trigger2 linux/arm64",
            "library/late linux/arm64 copied",
            "library/rich linux/arm64",
        ]
    );
    // The trigger's `tools` is a stage here, whose base has triggers as well.
    let text = "FROM trigger2 AS zero\nFROM plain AS tools\nCOPY --from=late:1 a b\nFROM trigger\n";
    let (stages, images) = reachable(text, None);
    assert_eq!(stages, [1, 2]);
    assert_eq!(
        images,
        [
            "library/trigger linux/arm64",
            "library/plain linux/arm64",
            "library/late linux/arm64 copied",
        ]
    );
}

#[test]
fn a_copied_image_can_become_a_base_later() {
    let text = "FROM trigger AS tools\nCOPY --from=rich a b\nFROM trigger\nCOPY --from=plain a b\n";
    // `tools` copies from nothing of its own name: the trigger of its base names the stage itself.
    let error = outlined(text, &options()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "stage \"tools\" comes after stage \"tools\", which copies from it"
    );
    let text = "FROM tools AS x\nFROM rich AS tools\nCOPY --from=x a b\nFROM trigger\nCOPY --from=docker.io/library/tools a b\n";
    let (stages, images) = reachable(text, None);
    assert_eq!(stages, [0, 1, 2]);
    assert_eq!(
        images,
        [
            "library/trigger linux/arm64",
            "library/tools linux/arm64",
            "library/rich linux/arm64"
        ]
    );
}

#[test]
fn stages_come_after_what_they_need() {
    let text =
        "FROM plain AS a\nFROM a AS b\nFROM scratch\nCOPY --from=b x y\nCOPY --from=tools x y\n";
    let plan = planned(text, &options()).unwrap();
    let bases: Vec<StageBase> = plan.stages.iter().map(|stage| stage.base).collect();
    assert_eq!(
        bases,
        [StageBase::Image(0), StageBase::Stage(0), StageBase::Scratch]
    );
    assert_eq!(plan.target, 2);
    let from: Vec<CopyFrom> = copies(&plan.stages[2])
        .iter()
        .map(|copy| copy.from)
        .collect();
    assert_eq!(from, [CopyFrom::Stage(1), CopyFrom::Image(1)]);
    let unneeded = "FROM plain\nFROM plain AS a\nFROM plain\nFROM a\nCOPY --from=1 a b\n";
    let plan = planned(unneeded, &options()).unwrap();
    let numbers: Vec<usize> = plan.stages.iter().map(|stage| stage.number).collect();
    assert_eq!(numbers, [1, 3]);
    assert_eq!(copies(&plan.stages[1])[0].from, CopyFrom::Stage(0));
}

#[test]
fn names_are_resolved_as_buildkit_does() {
    // An earlier stage hides an image of the same name; a later one, or the stage itself, does not.
    let text = "FROM plain AS plain\nFROM rich AS scratch\nFROM scratch\nCOPY --from=plain a b\n";
    let plan = planned(text, &options()).unwrap();
    assert_eq!(plan.stages[2].base, StageBase::Stage(1));
    assert_eq!(copies(&plan.stages[2])[0].from, CopyFrom::Stage(0));
    // Of two stages with one name, FROM takes the last one before it.
    let text = "FROM plain AS a\nFROM rich AS a\nFROM a\n";
    assert_eq!(reachable(text, None).0, [1, 2]);
}

#[test]
fn platforms_come_from_the_flag_the_parent_or_the_target() {
    let text = "FROM --platform=linux/amd64 plain AS a\nFROM --platform=linux/s390x a AS b\nFROM --platform=linux/s390x scratch AS c\nFROM b\nCOPY --from=c a b\n";
    let plan = planned(text, &options()).unwrap();
    let platforms: Vec<String> = plan
        .stages
        .iter()
        .map(|stage| stage.platform.to_string())
        .collect();
    assert_eq!(
        platforms,
        ["linux/amd64", "linux/amd64", "linux/arm64", "linux/amd64"]
    );
}

#[test]
fn a_long_chain_of_stages_is_no_danger() {
    let mut text = "FROM scratch AS s0\n".to_owned();
    for number in 1..3000 {
        text.push_str(
            &[
                "FROM s",
                &(number - 1).to_string(),
                " AS s",
                &number.to_string(),
                "\n",
            ]
            .concat(),
        );
    }
    let (stages, _) = reachable(&text, None);
    assert_eq!(stages.len(), 3000);
}
