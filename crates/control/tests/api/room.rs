//! Functions on a node that is full, or nearly.

use std::sync::Arc;

use axum::{Router, extract::State};
use bytes::Bytes;
use hearth_api::{CreateMachine, Machine, ProblemCode};
use hearth_domain::{Capacity, MachineEvent, MachineState};
use hearth_node_api::NodeService as _;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

use crate::{
    fixture::{Answer, Fixture, IMAGE, machine, request, send},
    program::{deploy_to, until},
    tenancy::asking,
};

const MEMORY_MIB: u64 = 1024;

/// A node that is half full, with a function `web` whose instances have one call at a time and take an eighth of it.
struct HalfFull {
    f: Fixture,
    other: Machine,
    /// As many calls end as there are permits.
    go: Arc<Semaphore>,
}

impl HalfFull {
    async fn new() -> Self {
        Self::running("serve").await
    }

    /// With instances whose machines run these words.
    async fn running(words: &str) -> Self {
        let f = Fixture::new().await;
        f.node.has(Capacity {
            cpu_millis: 64_000,
            memory_mib: MEMORY_MIB,
        });
        let other = f.make(CreateMachine {
            memory_mib: Some(MEMORY_MIB / 2),
            ..machine(&["sleep"])
        });
        let other = other.await;
        let go = Arc::new(Semaphore::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fields = json!({
            "image": IMAGE,
            "cmd": [words],
            "port": listener.local_addr().unwrap().port(),
            "memory_mib": MEMORY_MIB / 8,
            "settings": {"concurrency": 1},
        });
        let program = Router::new().fallback(answer).with_state(Arc::clone(&go));
        tokio::spawn(async move { axum::serve(listener, program).await.unwrap() });
        let answer = deploy_to(&f, "web", fields).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        Self { f, other, go }
    }

    fn call(&self) -> JoinHandle<Answer> {
        let socket = self.f.socket.clone();
        let request: Request<Full<Bytes>> = request(Method::POST, "/v1/functions/web/invoke")
            .body(Full::default())
            .unwrap();
        tokio::spawn(async move { send(&socket, request).await })
    }

    /// Deploys a function of another project that wants all the room there is, and none of whose instances comes to serve.
    async fn another_project_fills_the_queue(&self) {
        let made = self.f.post_json("/v1/projects", &json!({ "name": "greedy" })).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        let fields = json!({
            "image": IMAGE,
            "cmd": ["wait"],
            "port": 9,
            "memory_mib": MEMORY_MIB / 32,
            "settings": {"concurrency": 1, "min": 1000, "max": 1000},
        });
        let mut request = asking(Method::PUT, "/v1/functions/silent", Some(fields));
        let headers = request.headers_mut();
        headers.insert("x-hearth-project", "greedy".parse().unwrap());
        let deployed = self.f.send(request).await;
        assert_eq!(deployed.status, StatusCode::OK, "{deployed:?}");
        // Half of what may be made at a time; the rest waits for its turn.
        until(async || (self.f.node.count() == 1 + 8).then_some(())).await;
        until(async || (self.plain_figure("hearth_provision_queue_claimed").await == Some(16)).then_some(())).await;
    }

    async fn remove_the_other(&self) {
        let path = format!("/v1/machines/{}", self.other.id);
        assert_eq!(self.f.delete(&path).await.status, StatusCode::NO_CONTENT);
    }

    /// A figure of the function.
    async fn figure(&self, name: &str) -> Option<u32> {
        let labels = "{project=\"default\",function=\"web\",version=\"1\"}";
        self.plain_figure(&format!("{name}{labels}")).await
    }

    async fn plain_figure(&self, series: &str) -> Option<u32> {
        let text = self.f.get("/metrics").await.body;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let series = format!("{series} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series))?;
        Some(value.parse().unwrap())
    }

    /// Waits until the function has so many instances, and wants so many more.
    async fn until_there_are(&self, instances: u32, lacking: u32) {
        until(async || {
            let there_are = self.figure("hearth_function_instances").await;
            let lacks = self.figure("hearth_function_instances_lacking").await;
            (there_are == Some(instances) && lacks == Some(lacking)).then_some(())
        })
        .await;
    }
}

async fn answer(State(go): State<Arc<Semaphore>>) -> &'static str {
    go.acquire().await.unwrap().forget();
    "ok"
}

#[tokio::test]
async fn as_many_instances_are_made_as_fit_and_more_when_a_machine_ends() {
    let world = HalfFull::new().await;
    let calls: Vec<_> = (0..6).map(|_| world.call()).collect();
    world.until_there_are(4, 2).await;
    assert_eq!(world.f.node.count(), 5);
    assert_eq!(world.figure("hearth_function_provision_requests_total").await, Some(4));
    let failed = world.figure("hearth_function_provision_failures_total").await;
    assert_eq!(failed.unwrap_or_default(), 0, "none was refused");
    world.remove_the_other().await;
    world.until_there_are(6, 0).await;
    world.go.add_permits(calls.len());
    for call in calls {
        assert_eq!(call.await.unwrap().status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_full_node_is_told_of_at_once_and_only_as_long_as_it_is_full() {
    let world = HalfFull::new().await;
    world.f.node.has(Capacity {
        cpu_millis: 64_000,
        memory_mib: MEMORY_MIB / 2,
    });
    for _ in 0..3 {
        let problem = world.call().await.unwrap().problem();
        assert_eq!(problem.code, ProblemCode::Unavailable);
        assert_eq!(problem.detail, "no node has room for an instance");
    }
    assert_eq!(world.f.node.count(), 1);
    let asked = world.figure("hearth_function_provision_requests_total").await;
    assert_eq!(asked.unwrap_or_default(), 0, "it is known without asking");
    world.remove_the_other().await;
    world.go.add_permits(1);
    assert_eq!(world.call().await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn what_was_half_made_before_is_room_on_a_full_node() {
    let mut world = HalfFull::running("wait").await;
    let lost = world.call();
    let half_made = until(async || {
        let mut machines = world.f.node.machines().into_iter();
        let machine = machines.find(|machine| machine.owner.is_some())?.id;
        let status = world.f.node.status(machine)?;
        (status.state == MachineState::Starting).then_some(machine)
    })
    .await;
    world.f.node.has(Capacity {
        cpu_millis: 64_000,
        memory_mib: MEMORY_MIB / 2 + MEMORY_MIB / 8,
    });
    lost.abort();
    world.f = world.f.reopen().await;
    let call = world.call();
    let asked = async || world.figure("hearth_function_provision_requests_total").await;
    until(async || (asked().await == Some(2)).then_some(())).await;
    world.f.node.happen(half_made, MachineEvent::Ready).unwrap();
    world.go.add_permits(1);
    assert_eq!(call.await.unwrap().status, StatusCode::OK);
    assert_eq!(world.f.node.count(), 2);
}

#[tokio::test]
async fn what_others_only_asked_for_keeps_nobody_out() {
    let world = HalfFull::new().await;
    world.another_project_fills_the_queue().await;
    world.go.add_permits(1);
    let answer = world.call().await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}
