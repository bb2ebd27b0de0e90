//! Images and kernels, in their real stores; and the node.

use hearth_api::{
    CheckList, FunctionSource, Image, ImageLine, ImageList, ImportKernel, KernelLine, KernelList, NodeInfo,
    ProblemCode, PruneResult, PullImage, PullPolicy, Role, Version,
};
use http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::{
    fixture::{Fixture, IMAGE, machine, request, root_tar},
    tenancy::Realm,
};

fn escaped(reference: &str) -> String {
    reference.replace('/', "%2F")
}

async fn import(f: &Fixture, query: &str, body: Vec<u8>) -> crate::fixture::Answer {
    let path = format!("/v1/images/import?{query}");
    f.send(request(Method::POST, &path).body(Full::from(body)).unwrap())
        .await
}

#[tokio::test]
async fn an_image_comes_is_used_and_goes() {
    let f = Fixture::new().await;
    let tar = std::fs::read(root_tar(f.folder.path())).unwrap();
    let answer = import(&f, "kind=root&name=localhost/other:2&cmd=%5B%22/hello%22%5D", tar).await;
    let lines: Vec<ImageLine> = answer.lines();
    let Some(ImageLine::Result { image }) = lines.last() else {
        panic!("{lines:?}")
    };
    assert_eq!(
        (image.config.cmd.as_slice(), image.references.len()),
        (["/hello".to_owned()].as_slice(), 1)
    );
    let list: ImageList = f.get("/v1/images").await.json();
    assert_eq!(list.images.len(), 2);
    let one: Image = f
        .get(&format!("/v1/images/{}", escaped("localhost/other:2")))
        .await
        .json();
    assert_eq!(&one, image.as_ref());
    let gone: PruneResult = f
        .delete(&format!("/v1/images/{}", escaped("localhost/other:2")))
        .await
        .json();
    assert_eq!(gone.removed, [one.id]);
    assert_eq!(
        f.get("/v1/images/nothing").await.problem().code,
        ProblemCode::ImageNotFound
    );
    let pruned: PruneResult = f.post("/v1/images/prune").await.json();
    assert!(pruned.removed.is_empty());
    f.make(machine(&["sleep"])).await;
}

#[tokio::test]
async fn projects_name_images_below_their_own_names() {
    let r = Realm::new().await;
    for project in ["a", "b", "library", "hearth"] {
        r.project(project, json!({})).await;
    }
    let tar = std::fs::read(root_tar(r.f.folder.path())).unwrap();
    let import = async |key: &str, name: &str, cmd: &str| {
        let path = format!("/v1/images/import?kind=root&name={name}&cmd=%5B%22{cmd}%22%5D");
        let body = Full::from(tar.clone());
        r.send(Some(key), request(Method::POST, &path).body(body).unwrap())
            .await
    };
    let a = r.key("a", Role::Developer, None).await.token;
    for name in [
        "hearth/runtime-node",
        "python:3.12",
        "b/app",
        "library/python:3.12",
        "localhost/a/app",
        IMAGE,
    ] {
        let refused = import(&a, name, "x").await.problem();
        assert_eq!(refused.code, ProblemCode::Forbidden, "{name}");
    }
    for project in ["library", "hearth"] {
        let key = r.key(project, Role::Admin, None).await.token;
        let refused = import(&key, &format!("{project}/runtime-node"), "x").await.problem();
        assert_eq!(refused.code, ProblemCode::Forbidden, "{project}");
    }
    for cmd in ["one", "two"] {
        let lines: Vec<ImageLine> = import(&a, "a/app:1", cmd).await.lines();
        assert!(matches!(lines.last(), Some(ImageLine::Result { .. })), "{lines:?}");
        let image: Image = r.f.get("/v1/images/a%2Fapp:1").await.json();
        assert_eq!(image.config.cmd, [cmd]);
    }
    // What the host named so stays as it is.
    let path = "/v1/images/import?kind=root&name=a/base&cmd=%5B%22host%22%5D";
    let body = Full::from(tar.clone());
    r.f.send(request(Method::POST, path).body(body).unwrap()).await;
    let lines: Vec<ImageLine> = import(&a, "a/base", "mine").await.lines();
    let Some(ImageLine::Problem(problem)) = lines.last() else {
        panic!("{lines:?}")
    };
    assert_eq!(problem.problem.code, ProblemCode::Forbidden);
    let image: Image = r.f.get("/v1/images/a%2Fbase").await.json();
    assert_eq!(image.config.cmd, ["host"]);
    for reference in ["hearth/runtime-node", "b/app"] {
        let pull = json!({ "reference": reference, "policy": "always" });
        let refused = r.ask(&a, Method::POST, "/v1/images/pull", Some(pull)).await.problem();
        assert_eq!(refused.code, ProblemCode::Forbidden, "{reference}");
    }
}

#[tokio::test]
async fn what_cannot_be_imported_or_pulled_is_told() {
    let f = Fixture::new().await;
    for query in [
        "",
        "kind=zip",
        "kind=root",
        "kind=root&name=%20",
        "kind=root&name=a&cmd=sh",
    ] {
        assert_eq!(import(&f, query, Vec::new()).await.problem().status, 400, "{query}");
    }
    let lines: Vec<ImageLine> = import(&f, "kind=oci", b"no tar".to_vec()).await.lines();
    assert!(matches!(lines.last(), Some(ImageLine::Problem(_))), "{lines:?}");
    let pull = |reference: &str, policy| PullImage {
        reference: reference.into(),
        policy,
        auth: None,
    };
    let refused = f
        .post_json("/v1/images/pull", &pull("NOT A REFERENCE", PullPolicy::Always))
        .await;
    assert_eq!(refused.problem().field.as_deref(), Some("reference"));
    let present: Vec<ImageLine> = f
        .post_json("/v1/images/pull", &pull(IMAGE, PullPolicy::Missing))
        .await
        .lines();
    assert!(matches!(present.as_slice(), [ImageLine::Result { .. }]), "{present:?}");
}

#[tokio::test]
async fn kernels_are_listed_and_bad_ones_refused() {
    let f = Fixture::new().await;
    let list: KernelList = f.get("/v1/kernels").await.json();
    assert!(list.kernels.is_empty());
    for path in ["/v1/kernels/none", "/v1/kernels/none/default"] {
        let method = if path.ends_with("default") {
            Method::POST
        } else {
            Method::GET
        };
        assert_eq!(f.call(method, path).await.problem().code, ProblemCode::KernelNotFound);
    }
    assert_eq!(
        f.delete("/v1/kernels/none").await.problem().code,
        ProblemCode::KernelNotFound
    );
    let body = request(Method::POST, "/v1/kernels/import")
        .body(Full::from("no package"))
        .unwrap();
    let lines: Vec<KernelLine> = f.send(body).await.lines();
    assert!(matches!(lines.last(), Some(KernelLine::Problem(_))), "{lines:?}");
    let relative = ImportKernel::Deb { path: "a.deb".into() };
    let refused = f.post_json("/v1/kernels/import", &relative).await.problem();
    assert_eq!(refused.field.as_deref(), Some("path"));
    let absent = ImportKernel::Deb {
        path: "/no/such.deb".into(),
    };
    let lines: Vec<KernelLine> = f.post_json("/v1/kernels/import", &absent).await.lines();
    assert!(matches!(lines.last(), Some(KernelLine::Problem(_))), "{lines:?}");
    let left = std::fs::read_dir(f.folder.path()).unwrap().flatten();
    assert!(
        !left
            .into_iter()
            .any(|entry| entry.file_name().to_string_lossy().ends_with(".deb"))
    );
}

#[tokio::test]
async fn the_node_tells_of_itself() {
    let f = Fixture::new().await;
    let info: NodeInfo = f.get("/v1/node").await.json();
    assert_eq!((info.cpus.total, info.memory_mib.total, info.images), (1024, 65_536, 1));
    let doctor: CheckList = f.get("/v1/doctor").await.json();
    assert_eq!(doctor.checks[0].name, "kvm");
    let version: Version = f.get("/v1/version").await.json();
    assert_eq!(version.api_version, "v1");
    assert_eq!(f.get("/openapi.json").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_source_is_of_the_project_that_uploaded_it() {
    let r = Realm::new().await;
    let mut keys = Vec::new();
    for project in ["a", "b"] {
        r.project(project, json!({})).await;
        keys.push(r.key(project, Role::Developer, None).await.token);
    }
    let [a, b] = [keys.remove(0), keys.remove(0)];
    let tar = std::fs::read(root_tar(r.f.folder.path())).unwrap();
    let upload = async |key: &str| {
        let request = request(Method::POST, "/v1/functions/web/source").body(Full::from(tar.clone()));
        r.send(Some(key), request.unwrap()).await
    };
    let import = "/v1/images/import?kind=root&name=hearth/runtime-python3:latest&cmd=%5B%22/hello%22%5D";
    r.f.send(request(Method::POST, import).body(Full::from(tar.clone())).unwrap())
        .await;
    let source = upload(&a).await.json::<FunctionSource>().source;
    let deploy = async |key: &str, name: &str| {
        let body = json!({ "source": source, "runtime": "python3", "handler": "main.handler" });
        let path = format!("/v1/functions/{name}");
        r.ask(key, Method::PUT, &path, Some(body)).await
    };
    let path = format!("/v1/images/{source}");
    for key in [&a, &b] {
        let list: ImageList = r.ask(key, Method::GET, "/v1/images", None).await.json();
        assert!(list.images.iter().all(|image| image.id != source), "{list:?}");
        let hidden = r.ask(key, Method::GET, &path, None).await.problem();
        assert_eq!(hidden.code, ProblemCode::ImageNotFound);
        let body = json!({ "image": source, "cmd": ["cat", "/var/task/main.py"] });
        let refused = r
            .ask(key, Method::POST, "/v1/machines", Some(body.clone()))
            .await
            .problem();
        assert_eq!(refused.code, ProblemCode::ImageNotFound);
        let refused = r
            .ask(key, Method::PUT, "/v1/functions/root", Some(body))
            .await
            .problem();
        assert_eq!(refused.code, ProblemCode::ImageNotFound);
    }
    assert_eq!(r.f.get(&path).await.json::<Image>().id, source);
    assert_eq!(deploy(&b, "web").await.problem().code, ProblemCode::SourceInvalid);
    let deployed = deploy(&a, "web").await;
    assert_eq!(deployed.status, StatusCode::OK, "{deployed:?}");
    assert_eq!(deploy(&b, "web").await.problem().code, ProblemCode::SourceInvalid);
    // Whoever has the same files has the source.
    upload(&b).await;
    assert_eq!(deploy(&b, "web").await.status, StatusCode::OK);
}
