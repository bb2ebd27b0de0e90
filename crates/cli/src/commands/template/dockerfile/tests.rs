//! Dockerfiles as a whole.

use proptest::prelude::*;

use super::{words::Variables, *};

fn recipe(text: &str) -> Recipe {
    read(text, &Variables::new(), None).unwrap()
}

fn words(recipe: &Recipe) -> Vec<String> {
    let steps = recipe.steps.iter().map(|step| match step {
        Step::Ready(step) => format!("{} {}", step.kind.as_str(), step.args.join("|")),
        Step::Copy {
            source,
            target,
            owner,
            mode,
        } => format!("COPY {source:?} {target} {owner:?} {mode:?}"),
    });
    steps.collect()
}

#[test]
fn instructions_become_steps() {
    let found = recipe(
        "ARG BASE=debian:12\nFROM --platform=linux/amd64 $BASE AS app\nARG V=1\nENV A=\"x y\" B=$V\nENV C one  two\n\
         WORKDIR /app\nUSER ada\nRUN echo hi \\\n && true\nRUN [\"a\", \"b'c\"]\nEXPOSE 80\nCMD [\"python3\", \"-m\", \"http.server\"]",
    );
    assert_eq!(found.image, "debian:12");
    assert_eq!(
        words(&found),
        [
            "ENV A|x y|B|1",
            "ENV C|one  two",
            "WORKDIR /app",
            "USER ada",
            "RUN export V='1'\necho hi  && true",
            "RUN export V='1'\n'a' 'b'\\''c'",
        ]
    );
    assert_eq!(found.start.as_deref(), Some("'python3' '-m' 'http.server'"));
    assert!(
        found.notes[0].contains("EXPOSE") && found.notes[0].contains("line 11"),
        "{:?}",
        found.notes
    );
}

#[test]
fn arguments_are_given_from_outside_and_end_with_their_stage() {
    let given: Variables = [("V", "9"), ("IMAGE", "x"), ("UNUSED", "z")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let text = "ARG IMAGE=a\nARG G=g\nFROM $IMAGE\nARG G\nARG V=1\nARG N\nENV R=$V$G$N$IMAGE";
    let found = read(text, &given, None).unwrap();
    assert_eq!(
        (found.image.as_str(), words(&found)),
        ("x", vec!["ENV R|9g".to_owned()])
    );
}

#[test]
fn copies_have_sources_owner_and_mode() {
    let found = recipe(
        "FROM a\nCOPY --chown=ada:ada --chmod=755 --link a b* /x/\nCOPY [\"a b\", \"/y\"]\nADD c .\nCOPY <<EOF /z\nhi\nEOF",
    );
    let steps = words(&found);
    assert_eq!(steps[0], r#"COPY Path("a") /x/ Some("ada:ada") Some("755")"#);
    assert_eq!(steps[1], r#"COPY Path("b*") /x/ Some("ada:ada") Some("755")"#);
    assert_eq!(steps[2], r#"COPY Path("a b") /y None None"#);
    assert_eq!(steps[3], r#"COPY Path("c") . None None"#);
    assert_eq!(steps[4], r#"COPY Text { name: "EOF", text: "hi\n" } /z None None"#);
}

#[test]
fn here_documents_are_the_shells() {
    let found = recipe(
        "FROM a\nRUN <<EOF\nset -e\ntrue\nEOF\nRUN python3 <<X && true\nprint(1)\nX\nRUN <<S\n#!/bin/python3\nx\nS",
    );
    let steps = words(&found);
    assert_eq!(steps[0], "RUN set -e\ntrue\n");
    assert_eq!(steps[1], "RUN python3 <<X && true\nprint(1)\nX\n");
    assert!(steps[2].contains("<<'S'\n#!/bin/python3\nx\nS\n"), "{}", steps[2]);
}

#[test]
fn what_starts_is_entrypoint_and_cmd() {
    let start = |text: &str| recipe(&format!("FROM a\n{text}")).start.unwrap();
    assert_eq!(start("CMD serve --all"), "serve --all");
    assert_eq!(start("ENTRYPOINT [\"a\"]\nCMD [\"b\"]"), "'a' 'b'");
    assert_eq!(start("ENTRYPOINT a\nCMD b"), "a");
    assert_eq!(start("CMD b\nENTRYPOINT [\"a\"]"), "'a'");
    assert_eq!(recipe("FROM a").start, None);
}

#[test]
fn another_shell_runs_commands() {
    let found = recipe(
        "FROM a\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN a | b\nSHELL [\"/bin/bash\", \"-c\"]\nRUN c",
    );
    assert_eq!(words(&found), ["RUN '/bin/bash' '-o' 'pipefail' '-c' 'a | b'", "RUN c"]);
}

#[test]
fn what_cannot_be_is_refused_by_its_line() {
    for (text, hint) in [
        ("FROM a AS x\nFROM b AS 1b", "line 2"),
        ("FROM a AS x\nFROM b AS X", "choose another name"),
        ("FROM a b", "FROM IMAGE AS NAME"),
        ("FROM a\nCOPY --from=0 /a /b", "not before this one"),
        (
            "FROM a AS x\nCOPY --from=y /a /b\nFROM a AS y\nCOPY --from=x /a /b",
            "line 2",
        ),
        ("FROM a AS x\nFROM a\nCOPY --from=7 /a /b", "there are: x"),
        ("FROM a AS x\nFROM a\nCOPY --from=$X /a /b", "FROM $X AS NAME"),
        ("FROM a AS x\nFROM a\nCOPY --from=x ./../ /b", "name the folders"),
        ("FROM a AS x\nFROM a\nCOPY --from=x <<EOF /b\nEOF", "of no stage"),
        ("FROM a AS x\nFROM a\nADD --from=x /a /b", "use COPY --from"),
        ("FROM a AS x\nRUN --mount=type=ssh y\nFROM x\nRUN z", "line 2"),
        ("FROM a\nRUN --mount=type=secret,id=x true", "not offered"),
        ("FROM a\nADD https://example.com/x /x", "RUN curl"),
        ("FROM a\nADD x.tar.gz /x", "unpacks no archives"),
        ("FROM a\nCOPY x", "sources and a target"),
        ("FROM a\nCOPY x y z", "end it with /"),
        ("FROM scratch", "bash"),
        ("RUN x", "before FROM"),
        ("FROM a\nRUNN x", "no instruction"),
        ("FROM a\nWORKDIR $NONE", "expanded"),
        ("FROM a\nENV A", "NAME=VALUE"),
        ("", "no FROM"),
    ] {
        let refused = format!("{:#}", read(text, &Variables::new(), None).unwrap_err());
        assert!(refused.contains(hint), "{text}: {refused}");
    }
}

/// Stages with their images and steps, the template's own last.
fn stages(recipe: &Recipe) -> Vec<String> {
    let own = Recipe {
        steps: recipe.steps.clone(),
        ..Recipe::default()
    };
    let built = recipe.stages.iter().map(|stage| {
        let steps = Recipe {
            steps: stage.steps.clone(),
            ..Recipe::default()
        };
        format!("{} of {}: {}", stage.name, stage.image, words(&steps).join(", "))
    });
    built
        .chain([format!("{}: {}", recipe.image, words(&own).join(", "))])
        .collect()
}

const STAGED: &str = "ARG V=1\nFROM --platform=$BUILDPLATFORM go:$V AS Base\nARG V\nENV A=a\nWORKDIR /src\n\
    FROM base AS build\nRUN make $A\n\
    FROM base AS test\nRUN --mount=type=secret,id=x make test\n\
    FROM a\nRUN two\n\
    FROM scratch AS nothing\nCOPY --from=build / /\n\
    FROM debian\nCOPY --from=BUILD --chown=ada --chmod=755 /out/app /out/lib* /to/\nCOPY --from=3 x /x\nCOPY --from=tool:1 /tool /bin/\n\
    CMD [\"app\"]";

#[test]
fn the_target_has_the_stages_that_it_needs() {
    let found = recipe(STAGED);
    assert_eq!(
        stages(&found),
        [
            "tool:1 of tool:1: ",
            "build of go:1: ENV A|a, WORKDIR /src, RUN export V='1'\nmake $A",
            "3 of a: RUN two",
            "debian: COPY /out/app|/to/|ada|755, COPY /out/lib*|/to/|ada|755, COPY x|/x||, COPY /tool|/bin/||",
        ]
    );
    let of = found.steps.iter().map(|step| match step {
        Step::Ready(step) => step.stage.clone().unwrap_or_default(),
        Step::Copy { .. } => "folder".to_owned(),
    });
    assert_eq!(of.collect::<Vec<_>>(), ["build", "build", "3", "tool:1"]);
    assert_eq!(found.start.as_deref(), Some("'app'"));
    let images: Vec<_> = found.images.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(images, ["tool:1", "go:1", "go:1", "a", "debian"]);
    let typo = &found.images[0].why;
    assert!(
        typo.contains("line 17") && typo.contains("base, build, test, 3, nothing"),
        "{typo}"
    );
}

#[test]
fn a_target_is_a_name_or_a_number() {
    let of = |target| read(STAGED, &Variables::new(), Some(target));
    let base = "go:1: ENV A|a, WORKDIR /src";
    assert_eq!(stages(&of("base").unwrap()), [base]);
    assert_eq!(stages(&of("0").unwrap()), [base]);
    assert_eq!(stages(&of("Build").unwrap()).len(), 1);
    assert_eq!(stages(&of("3").unwrap()), ["a: RUN two"]);
    for (target, hint) in [
        ("none", "base, build, test, 3, nothing, 5"),
        ("6", "no stage is called so"),
        ("nothing", "bash"),
        ("test", "not offered"),
    ] {
        let refused = format!("{:#}", of(target).unwrap_err());
        assert!(refused.contains(hint), "{target}: {refused}");
    }
}

#[test]
fn a_stage_goes_on_from_another_one() {
    let found = recipe(
        "FROM a AS a\nARG V=1\nENV E=e\nSHELL [\"/bin/ash\", \"-c\"]\nENTRYPOINT [\"run\"]\nEXPOSE 1\nFROM a AS b\nFROM b\nRUN $E\nCMD [\"it\"]",
    );
    assert_eq!(stages(&found), ["a: ENV E|e, RUN export V='1'\n'/bin/ash' '-c' '$E'"]);
    assert_eq!(found.start.as_deref(), Some("'run' 'it'"));
    assert_eq!(found.notes.len(), 1);
}

#[test]
fn what_a_stage_copies_for_those_that_begin_with_it_is_built() {
    let found = recipe("FROM a AS one\nRUN x\nFROM a AS two\nCOPY --from=one /x /y\nFROM two\nRUN z");
    assert_eq!(stages(&found), ["one of a: RUN x", "a: COPY /x|/y||, RUN z"]);
}

#[test]
fn stages_know_their_own_arguments_and_those_before_the_first() {
    let given: Variables = [("V".to_owned(), "9".to_owned())].into();
    let text = "ARG V=1\nARG T=x\nFROM a:$V AS one\nARG OWN=1\nFROM b\nARG T\nARG TARGETARCH\nENV R=$V$T$OWN-$TARGETARCH\nCOPY --from=one /a /b";
    let found = read(text, &given, None).unwrap();
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    assert_eq!(
        stages(&found),
        [
            "one of a:9: ".to_owned(),
            format!("b: ENV R|x-{architecture}, COPY /a|/b||")
        ]
    );
}

#[test]
fn stages_are_bounded() {
    let text = "FROM a\n".repeat(51);
    let refused = read(&text, &Variables::new(), None).unwrap_err().to_string();
    assert!(refused.contains("line 51"), "{refused}");
}

proptest! {
    #[test]
    fn nothing_that_is_read_breaks(
        lines in prop::collection::vec("(FROM|COPY --from=[a-z0-9]|RUN|COPY|ADD|ENV|ARG|CMD|SHELL|WORKDIR|# x) ?[ -~]{0,30}(\\\\|<<E)?", 0..12)
    ) {
        let _ = read(&format!("FROM a\n{}", lines.join("\n")), &Variables::new(), None);
    }
}

/// Why a Dockerfile is refused.
fn refusal(text: &str) -> String {
    format!("{:#}", read(text, &Variables::new(), None).unwrap_err())
}

#[test]
fn words_too_deep_within_each_other_are_refused_by_their_line() {
    let refused = refusal(&format!("FROM a\nENV A={}", "${A:-".repeat(200_000)));
    assert!(
        refused.contains("line 2: ENV") && refused.contains("more than 64"),
        "{refused}"
    );
}

#[test]
fn all_that_is_said_has_a_bound_together() {
    let a = "x".repeat(500_000);
    let lines = |line: &dyn Fn(usize) -> String| (0..100).map(line).collect::<String>();
    let words = lines(&|n| format!(" V{n}=$A$A"));
    let texts = [
        // One after the other, in one line, as arguments, for commands, for each source, and stage by stage.
        format!("FROM a\nENV A={a}\n{}", lines(&|n| format!("ENV V{n}=$A$A\n"))),
        format!("FROM a\nENV A={a}\nENV{words}"),
        format!("FROM a\nARG A={a}\nARG{words}"),
        format!("ARG A={a}\nARG{words}\nFROM a"),
        format!("FROM a\nARG A={a}\n{}", "RUN x\n".repeat(100)),
        format!("FROM a\nARG A={a}\nCOPY {} $A/", "b ".repeat(100)),
        format!("FROM a\nARG A={a}\n{}", "COPY --chown=$A b c\n".repeat(100)),
        format!("FROM a\nARG A={a}\n{}", "COPY <<EOF b\n$A\nEOF\n".repeat(100)),
        format!("FROM a\nENV A={a}\nCOPY {} c/", "b ".repeat(260_000)),
        format!(
            "FROM a AS s0\nENV A={a}\n{}",
            (1..40)
                .map(|n| format!("FROM s{} AS s{n}\n", n - 1))
                .collect::<Vec<_>>()
                .concat()
        ),
        format!("ARG A={a}\n{}", "FROM a\nARG A\n".repeat(40)),
    ];
    for text in texts {
        let refused = refusal(&text);
        assert!(
            refused.contains("line ") && refused.contains("more than 16777216 bytes"),
            "{:.200} {refused:.500}",
            &text[a.len()..]
        );
    }
    // What is usual is far from it.
    recipe(&format!(
        "FROM a\nENV A={a}\n{}",
        "ENV PATH=$PATH:/x\nRUN x\nCOPY a b c/\n".repeat(300)
    ));
}
