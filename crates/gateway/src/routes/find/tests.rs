use std::collections::BTreeMap;

use hearth_domain::{Contract, FunctionSpec, ScaleRule, Traffic};
use hearth_ids::{FunctionId, ProjectId};

use super::*;
use crate::VersionFacts;

fn route(name: &str, project: &str) -> Route {
    let facts = VersionFacts {
        contract: Contract::Http { port: 8080 },
        timeout_ms: 1000,
        cpu: 1,
        memory_mb: 128,
    };
    Route {
        function: FunctionSpec {
            id: FunctionId::new(),
            project: ProjectId::DEFAULT,
            name: name.parse().unwrap(),
            public: true,
            scale: ScaleRule {
                min: 0,
                max: 1,
                concurrency: 1,
                idle_ms: 0,
            },
        },
        project_name: project.to_owned(),
        live: Some(Traffic::all_to(2)),
        aliases: BTreeMap::from([("Blue".to_owned(), Traffic::all_to(1))]),
        versions: BTreeMap::from([(1, facts), (2, facts)]),
    }
}

#[test]
fn requests_find_their_function() {
    let (hello, other) = (route("Hello_World", "acme"), route("other", "acme"));
    let (id, other_id) = (hello.function.id, other.function.id);
    let table = RouteTable::new("Example.org", vec![hello, other]);
    let found = |host: &str, path: &str| {
        let found = table.find(Some(host), path)?;
        let (version, _) = found.route.choose(&found.qualifier, 0)?;
        let rest = path[found.prefix..].to_owned();
        Some((found.route.function.id, version, rest))
    };
    let run = format!("/run/{id}");
    let run_one = format!("/run/{id}:1/x/y");
    for (host, path, expected) in [
        ("hello-world.acme.fn.example.org", "/a", Some((id, 2, "/a"))),
        ("HELLO-World.ACME.fn.EXAMPLE.org:8443", "/", Some((id, 2, "/"))),
        ("hello-world.acme.fn.example.org.", "/", Some((id, 2, "/"))),
        ("blue.hello-world.acme.fn.example.org", "/", Some((id, 1, "/"))),
        ("1.other.acme.fn.example.org", "/", Some((other_id, 1, "/"))),
        ("9.other.acme.fn.example.org", "/", None),
        ("green.other.acme.fn.example.org", "/", None),
        ("none.acme.fn.example.org", "/fn/acme/other", None),
        ("fn.example.org", "/", None),
        (".fn.example.org", "/", None),
        ("example.org", "/fn/acme/other", Some((other_id, 2, ""))),
        ("127.0.0.1:80", "/fn/acme/Hello_World/a/b", Some((id, 2, "/a/b"))),
        ("[::1]:80", "/fn/acme/hello-world:blue/a", Some((id, 1, "/a"))),
        ("h", "/fn/acme/other:1", Some((other_id, 1, ""))),
        ("h", "/fn/acme/other:$LATEST/", Some((other_id, 2, "/"))),
        ("h", "/fn/acme/other:%24LATEST/", Some((other_id, 2, "/"))),
        ("h", "/fn/acme/other:/", None),
        ("h", "/fn/acme/", None),
        ("h", "/fn/acme", None),
        ("h", "/fn/none/other", None),
        ("h", &run, Some((id, 2, ""))),
        ("h", &run_one, Some((id, 1, "/x/y"))),
        ("h", "/run/", None),
        ("h", "/run/fnc0", None),
        ("h", "/", None),
    ] {
        let expected = expected.map(|(id, version, rest)| (id, version, rest.to_owned()));
        assert_eq!(found(host, path), expected, "{host} {path}");
    }
}

#[test]
fn hosts_of_functions_are_known_without_functions() {
    let table = RouteTable::new("Example.org", Vec::new());
    assert!(table.is_function_host("any.thing.fn.example.org:80"));
    assert!(!table.is_function_host("any.example.org"));
    assert!(!RouteTable::default().is_function_host("any.example.org"));
}
