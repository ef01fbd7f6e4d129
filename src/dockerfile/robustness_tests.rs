//! Tests of limits, of hostile input, and of input that is no Dockerfile at all.

use std::fmt::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn problems(text: &str) -> Vec<String> {
    match parse(text.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn bytes_that_are_not_text() {
    let check = |text: &[u8], expect: &str| {
        assert_eq!(parse(text).unwrap_err().to_string(), expect);
    };
    check(
        b"FROM a\nRUN \xff\n",
        "dockerfile line 2: the text is not valid UTF-8",
    );
    check(
        b"FROM a\nRUN a\0b\n",
        "dockerfile line 2: the text holds a NUL byte",
    );
    check(
        b"FROM a\nRUN <<E\nx\xff\nE\n",
        "dockerfile line 3: the text is not valid UTF-8",
    );
    check(
        b"FROM a\nRUN <<E\nx\0\nE\n",
        "dockerfile line 3: the text holds a NUL byte",
    );
    assert!(parse(b"# caf\xe9\nFROM a\nRUN a \\\n # \xe9\n b\n").is_ok());
}

#[test]
fn limits() {
    let line = |length: usize| format!("FROM a\nRUN {}", "x".repeat(length - 4));
    assert_eq!(problems(&line(65_535)), [""; 0]);
    assert_eq!(
        problems(&line(65_536)),
        ["dockerfile line 2: the line is longer than 65535 bytes"]
    );
    assert_eq!(
        problems(&line(10 << 20)),
        ["dockerfile line 1: the dockerfile is larger than 8388608 bytes"]
            .map(|text| text.replace("line 1", "line 2"))
    );
}

#[test]
fn large_files_take_linear_time() {
    let mut stages = String::new();
    for number in 0..10_000 {
        writeln!(
            stages,
            "FROM scratch AS s{number}\nCOPY --from=s{number} a b"
        )
        .unwrap();
    }
    let texts = [
        stages,
        format!("FROM a\n{}", "ENV a=${b:-c} d=\"e f\"\n".repeat(100_000)),
        format!("FROM a\nRUN {}", "a <<x \\\n".repeat(100_000)),
        format!("FROM a\nRUN {}", "x\\\n\n# c\n".repeat(300_000)),
        format!("FROM a\nENV {}b=c", "a=b \\\n".repeat(250_000)),
        format!("FROM a\nCMD {}", "[ \\\n".repeat(250_000)),
        format!("FROM a\nRUN {}", "${a:- \\\n".repeat(150_000)),
        format!("FROM a\n{}", "RUNN <<E\n".repeat(150_000)),
    ];
    for text in texts {
        let start = Instant::now();
        let _ = parse(text.as_bytes());
        // Generous: this build is not optimized and the machine may be busy.
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{:?} for {}",
            start.elapsed(),
            &text[..40]
        );
    }
}

const SCRAPS: &str = r#"(FROM a|RUN|COPY|ADD|ENV|ARG|CMD|HEALTHCHECK|ONBUILD|LABEL|VOLUME|EXPOSE|SHELL|# escape=`| |--from=|--mount|--|<<EOF|<<-'E'|EOF|E|\[|\]|"|'|\\|\n|\r|\t|=|,|\$\{|\}|é|a|0|`|#|\x00){0,40}"#;

/// Every span lies in the text, on the bounds of characters.
fn check_spans(text: &[u8], file: &Dockerfile) {
    let check = |span: Span| {
        assert!(
            span.start <= span.end && span.end <= text.len(),
            "{span:?} in {text:?}"
        );
    };
    for stage in &file.stages {
        check(stage.span);
        check(stage.from.image.span);
        for instruction in &stage.instructions {
            check(instruction.span);
            check(instruction.keyword);
            let keyword = &text[instruction.keyword.start..instruction.keyword.end];
            if !keyword.contains(&b'\\') && !keyword.contains(&b'`') {
                assert!(
                    keyword.eq_ignore_ascii_case(instruction.kind.keyword().as_bytes()),
                    "{text:?}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(file) = parse(&text) {
            check_spans(&text, &file);
        }
    }

    #[test]
    fn no_scraps_panic(text in SCRAPS) {
        for text in [text.clone(), format!("FROM a\n{text}")] {
            match parse(text.as_bytes()) {
                Ok(file) => check_spans(text.as_bytes(), &file),
                Err(errors) => {
                    prop_assert!(!errors.errors.is_empty());
                    for error in errors.errors {
                        prop_assert!(error.line >= 1 && error.span.end <= text.len());
                    }
                }
            }
            let _ = parse_instruction(&text);
        }
    }

    #[test]
    fn no_truncation_panics(cut in 0_usize..400) {
        let text = "# syntax=x\nARG A=1\nFROM --platform=$P a AS b\nRUN --mount=type=x <<-EOF\n\ta\n\tEOF\nCOPY --chown=1 [\"a\", \"b\"]\n\
            ENV a=\"b c\" \\\n # c\n d=é\nHEALTHCHECK --interval=1s CMD x\nONBUILD COPY <<'E' /x\ny\nE\nLABEL a b\nVOLUME /x\n";
        let _ = parse(&text.as_bytes()[..cut.min(text.len())]);
    }

    #[test]
    fn triggers_survive_a_second_reading(words in "[a-z$={} ]{1,20}", body in "[a-z \t$]{0,10}") {
        let text = format!("FROM a\nONBUILD RUN x{words}<<E y\n{body}\nE\n");
        if let Ok(file) = parse(text.as_bytes())
            && let InstructionKind::Onbuild(onbuild) = &file.stages[0].instructions[0].kind
            && let InstructionKind::Run(first) = &onbuild.instruction.kind
        {
            let again = parse_instruction(&onbuild.trigger);
            let Ok(InstructionKind::Run(second)) = again.map(|found| found.kind) else {
                panic!("{}", onbuild.trigger);
            };
            prop_assert_eq!(first.invocation(), second.invocation());
        }
    }
}
