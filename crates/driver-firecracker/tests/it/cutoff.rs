//! A start that is cut off anywhere leaves nothing that clean does not find.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll},
};

use hearth_driver::{Driver, Liveness};
use tokio::time::{Duration, timeout};

use crate::ground::{ground, until};

/// Polls a future at most so many times; `None` when it was not ready by then.
pub(crate) async fn cut_off<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context: &mut Context<'_>| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn cut_off_at_each_step_and_cleaned_by_another_driver() {
    let Some(ground) = ground() else { return };
    for polls in 1..500 {
        ground.make_folder();
        let driver = ground.driver();
        let started = cut_off(driver.start(&ground.plan), polls).await;
        drop(driver);
        // As a new process would: with nothing but the machine's name and folder.
        let next = ground.driver();
        next.clean(ground.plan.machine, &ground.plan.folder).await.unwrap();
        assert_eq!(ground.processes(), Vec::<u32>::new(), "after {polls} polls");
        assert_eq!(ground.leftovers(), Vec::<String>::new(), "after {polls} polls");
        next.clean(ground.plan.machine, &ground.plan.folder).await.unwrap();
        if let Some(done) = started {
            done.unwrap();
            assert!(polls > 5, "the walk saw the steps");
            return;
        }
    }
    panic!("the start never came to its end");
}

#[tokio::test]
async fn another_driver_takes_over() {
    let Some(ground) = ground() else { return };
    let handle = {
        let first = ground.driver();
        first.start(&ground.plan).await.unwrap()
    };
    let text = serde_json::to_string(&handle).unwrap();
    let handle = serde_json::from_str(&text).unwrap();
    let next = ground.driver();
    assert_eq!(next.recover(&handle).await.unwrap(), Liveness::Alive);
    next.pause(&handle).await.unwrap();
    next.resume(&handle).await.unwrap();
    assert!(next.metrics(&handle).await.is_ok(), "the pipes are read again");
    let waiting = next.wait(&handle);
    let (_exit, killed) = tokio::join!(timeout(Duration::from_secs(10), waiting), next.kill(&handle));
    killed.unwrap();
    next.kill(&handle).await.unwrap();
    assert_eq!(next.recover(&handle).await.unwrap(), Liveness::Gone);
    until("the process is gone", || ground.processes().is_empty()).await;
}

#[tokio::test]
async fn a_pid_that_came_round_again_is_left_alone() {
    let Some(ground) = ground() else { return };
    let driver = ground.driver();
    let mut handle = driver.start(&ground.plan).await.unwrap();
    handle.start_ticks -= 1;
    assert_eq!(driver.recover(&handle).await.unwrap(), Liveness::Gone);
    driver.kill(&handle).await.unwrap();
    handle.start_ticks += 1;
    assert_eq!(driver.recover(&handle).await.unwrap(), Liveness::Alive);
}
