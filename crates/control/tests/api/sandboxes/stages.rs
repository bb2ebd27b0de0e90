//! Builds with stages: what is copied of them, what is taken from before, and what is left.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use hearth_api::{BuildState, PrunedLayers, TemplateBuild};
use http::StatusCode;
use serde_json::{Value, json};

use crate::fixture::{Fixture, IMAGE};

/// A tar with a file, as a machine sends it.
fn tar_of(name: &str, text: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o4755);
    header.set_uid(1000);
    tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    tar.into_inner().unwrap()
}

/// Commands go well, and stages have made these files.
async fn fixture(files: &[(&str, &str)]) -> Fixture {
    let f = Fixture::new().await;
    f.node.exec_code.store(0, Ordering::Relaxed);
    for (path, text) in files {
        make(&f, path, text);
    }
    f
}

fn make(f: &Fixture, path: &str, text: &str) {
    let name = path.rsplit('/').next().unwrap();
    let tar = tar_of(name, text);
    f.node.archives.lock().unwrap().insert(path.to_owned(), tar);
}

fn run(command: &str) -> Value {
    json!({ "kind": "run", "args": [command] })
}

fn copy(stage: &str, source: &str) -> Value {
    json!({ "kind": "copy", "args": [source, "/to/"], "stage": stage })
}

fn stage(name: &str, steps: &[Value]) -> Value {
    json!({ "name": name, "image": IMAGE, "steps": steps })
}

/// A build, once it is over.
async fn over(f: &Fixture, stages: &[Value], steps: &[Value]) -> TemplateBuild {
    built(
        f,
        json!({ "name": "web", "image": IMAGE, "stages": stages, "steps": steps }),
    )
    .await
}

async fn built(f: &Fixture, body: Value) -> TemplateBuild {
    let begun = f.post_json("/v1/templates", &body).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{begun:?}");
    let path = format!("/v1/templates/web/builds/{}", begun.json::<TemplateBuild>().id);
    let over = f.until(&path, |answer| answer.json::<TemplateBuild>().state.is_over());
    let over = over.await.json();
    assert_eq!(f.node.count(), 0, "its machines are gone");
    over
}

/// What a build said that went well, without what its commands did.
fn said(build: &TemplateBuild) -> Vec<&str> {
    assert_eq!((build.state, &build.reason), (BuildState::Ready, &None));
    let said = build.log.iter().map(|line| line.message.as_str());
    said.filter(|line| line.starts_with('[')).collect()
}

#[tokio::test]
async fn what_a_stage_made_is_copied_and_nothing_else() {
    let f = fixture(&[("/out/app", "program"), ("/to/app", "packed")]).await;
    let stages = [
        stage("build", &[run("make")]),
        stage("pack", &[copy("build", "out/app")]),
    ];
    let build = over(&f, &stages, &[copy("pack", "/to/app"), run("ls")]).await;
    assert_eq!(
        said(&build),
        [
            &format!("[build] FROM {IMAGE}"),
            "[build 1/1] RUN make",
            "[build] copying out/app",
            &format!("[pack] FROM {IMAGE}"),
            "[pack 1/1] COPY --from=build out/app /to/",
            "[pack] copying /to/app",
            "[1/2] COPY --from=pack /to/app /to/",
            "[2/2] RUN ls",
        ]
    );
    let steps: BTreeSet<_> = build.log.iter().filter_map(|line| line.step.as_deref()).collect();
    for step in [
        "build/base",
        "build/1",
        "build/finalize",
        "pack/1",
        "1",
        "2",
        "finalize",
    ] {
        assert!(steps.contains(step), "{step}: {steps:?}");
    }
    // What was unpacked is root's, and as it was made.
    let archives = f.node.archives.lock().unwrap();
    let mut put: Vec<_> = archives
        .iter()
        .filter(|(path, _)| path.contains("hearth-copy"))
        .collect();
    put.sort_unstable();
    assert_eq!(put.len(), 2);
    for (_, tar) in put {
        let mut tar = tar::Archive::new(tar.as_slice());
        let entry = tar.entries().unwrap().next().unwrap().unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.mode().unwrap()), (0, 0o4755));
        assert_eq!(entry.path().unwrap().to_str(), Some("app"));
    }
}

#[tokio::test]
async fn stages_are_taken_from_before_by_what_they_made() {
    let f = fixture(&[("/out/app", "program")]).await;
    let steps = [copy("build", "/out/app"), run("ls")];
    over(&f, &[stage("build", &[run("make")])], &steps).await;
    // Nothing is built: neither the stage, whatever it is called, nor what copies of it.
    let renamed = [copy("compile", "/out/app"), run("ls")];
    let again = over(&f, &[stage("compile", &[run("make")])], &renamed).await;
    let cached = [
        "[compile] CACHED /out/app",
        "[1/2] CACHED COPY --from=compile /out/app /to/",
        "[2/2] CACHED RUN ls",
    ];
    assert_eq!(said(&again)[1..], cached);
    // Another stage that makes the same: what is built on that is as it was.
    let same = over(&f, &[stage("build", &[run("make -j")])], &steps).await;
    assert_eq!(
        said(&same)[1..3],
        ["[build 1/1] RUN make -j", "[build] copying /out/app"]
    );
    assert!(said(&same)[4].starts_with("[2/2] CACHED"), "{:?}", said(&same));
    // One that makes something else.
    make(&f, "/out/app", "other");
    let other = over(&f, &[stage("build", &[run("make all")])], &steps).await;
    assert_eq!(said(&other)[4], "[2/2] RUN ls");
    // All of it, if nothing from before is wanted.
    let mut body = json!({ "name": "web", "image": IMAGE, "steps": steps, "force": true });
    body["stages"] = json!([stage("build", &[run("make")])]);
    let forced = built(&f, body).await;
    assert!(said(&forced).iter().all(|line| !line.contains("CACHED")), "{forced:?}");
}

#[tokio::test]
async fn a_stage_whose_layer_or_copy_is_lost_is_made_again() {
    let f = fixture(&[("/out/app", "program")]).await;
    let (stages, steps) = ([stage("build", &[run("make")])], [copy("build", "/out/app"), run("ls")]);
    over(&f, &stages, &steps).await;
    std::fs::remove_dir_all(f.folder.path().join("template-files")).unwrap();
    let again = over(&f, &stages, &steps).await;
    assert_eq!(
        said(&again)[1..3],
        ["[build 1/1] CACHED RUN make", "[build] copying /out/app"]
    );
    for id in f.node.snapshot_ids() {
        f.node.lose_snapshot(id);
    }
    std::fs::remove_dir_all(f.folder.path().join("template-files")).unwrap();
    let again = over(&f, &stages, &steps).await;
    let lost = said(&again).into_iter().filter(|line| line.contains("cannot be used"));
    assert_eq!(lost.count(), 1, "{again:?}");
    assert_eq!(said(&over(&f, &stages, &steps).await)[1], "[build] CACHED /out/app");
}

#[tokio::test]
async fn a_stage_that_fails_says_at_which_step_and_leaves_nothing() {
    let f = fixture(&[]).await;
    let missing = over(&f, &[stage("build", &[run("make")])], &[copy("build", "/out/app")]).await;
    assert_eq!(
        (missing.state, missing.step.as_deref()),
        (BuildState::Failed, Some("build/finalize"))
    );
    let reason = missing.reason.unwrap();
    assert!(
        reason.contains("COPY of /out/app") && reason.contains("there is no"),
        "{reason}"
    );
    f.node
        .archives
        .lock()
        .unwrap()
        .insert("/out/app".into(), b"no tar".repeat(200));
    let broken = over(&f, &[stage("build", &[run("make")])], &[copy("build", "/out/app")]).await;
    assert!(broken.reason.unwrap().contains("cannot be read"));
    f.node.exec_code.store(4, Ordering::Relaxed);
    let failed = over(&f, &[stage("build", &[run("false")])], &[copy("build", "/out/app")]).await;
    assert_eq!(failed.step.as_deref(), Some("build/1"));
    assert!(failed.reason.unwrap().contains("exit code 4"));
    // Nothing but the layer of what went well, which goes with the others.
    assert_eq!(f.node.snapshot_ids().len(), 1);
    let pruned: PrunedLayers = f.delete("/v1/template-layers").await.json();
    assert_eq!((pruned.removed, f.node.snapshot_ids().len()), (1, 0));
    let files = f.folder.path().join("template-files");
    let left = std::fs::read_dir(files)
        .unwrap()
        .flatten()
        .map(|project| project.path());
    let left: Vec<_> = left.flat_map(|project| std::fs::read_dir(project).unwrap()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_was_cut_off_goes_with_the_next_start() {
    let f = fixture(&[("/out/app", "program")]).await;
    let (stages, steps) = ([stage("build", &[run("make")])], [copy("build", "/out/app")]);
    over(&f, &stages, &steps).await;
    let files = f.folder.path().join("template-files");
    let project = std::fs::read_dir(files).unwrap().next().unwrap().unwrap().path();
    std::fs::write(project.join(".tmpAb12cd"), "half").unwrap();
    let f = f.reopen().await;
    assert!(!project.join(".tmpAb12cd").exists());
    assert_eq!(
        std::fs::read_dir(&project).unwrap().count(),
        2,
        "an archive, and which it is"
    );
    assert_eq!(said(&over(&f, &stages, &steps).await)[1], "[build] CACHED /out/app");
}

#[tokio::test]
async fn stages_that_cannot_be_are_refused() {
    let f = fixture(&[]).await;
    let of_itself = stage("build", &[copy("build", "/x")]);
    let of_a_later = [stage("a", &[copy("b", "/x")]), stage("b", &[])];
    let with_files = json!({ "kind": "copy", "args": ["a", "b"], "stage": "build", "files": "0a".repeat(32) });
    let no_image = json!([{ "name": "build", "image": "none" }]);
    let many: Vec<_> = (0..51).map(|at| stage(&format!("s{at}"), &[])).collect();
    let long = stage("build", &vec![run("x"); 501]);
    let build = stage("build", &[]);
    for (stages, steps, field) in [
        (json!([of_itself]), json!([]), Some("stages[0].steps[0].stage")),
        (json!(of_a_later), json!([]), Some("stages[0].steps[0].stage")),
        (json!([]), json!([copy("build", "/x")]), Some("steps[0].stage")),
        (json!([build]), json!([with_files]), Some("steps[0].stage")),
        (json!([build]), json!([copy("build", "/")]), Some("steps[0].args")),
        (
            json!([build]),
            json!([copy("build", "/proc/1/environ")]),
            Some("steps[0].args"),
        ),
        (json!([build, build]), json!([]), Some("stages[1].name")),
        (json!([stage("a b", &[])]), json!([]), Some("stages[0].name")),
        (json!(many), json!([]), Some("stages")),
        (json!([long]), json!([]), Some("steps")),
        (
            json!([stage("a", &[json!({ "kind": "run" })])]),
            json!([]),
            Some("stages[0].steps[0]"),
        ),
        (no_image, json!([]), None),
    ] {
        let body = json!({ "name": "web", "image": IMAGE, "stages": stages, "steps": steps });
        let refused = f.post_json("/v1/templates", &body).await;
        assert!(refused.status.is_client_error(), "{refused:?}");
        assert_eq!(refused.problem().field.as_deref(), field, "{body}");
    }
    assert_eq!(f.get("/v1/templates/web").await.status, StatusCode::NOT_FOUND);
}
