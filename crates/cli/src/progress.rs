//! Progress of pulls, imports and conversions, on standard error.

use std::{
    collections::HashMap,
    io::IsTerminal as _,
    pin::pin,
    time::{Duration, Instant},
};

use hearth_api::{ImagePhase, ImageProgress, KernelPhase, KernelProgress};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::timeout;

use crate::output::note;

/// How often a line tells how far it is, where bars cannot be drawn. What takes less time needs no line.
const LINE_STEP: Duration = Duration::from_secs(3);

/// What takes longer than this is told of.
const MOMENT: Duration = Duration::from_secs(1);

/// Waits for something, and says what for where it takes longer than a moment: beside a spinner on a terminal, else in a
/// line, and not at all where standard error is for JSON.
pub(crate) async fn telling<T>(what: &str, json: bool, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if let Ok(done) = timeout(MOMENT, work.as_mut()).await {
        return done;
    }
    if json || !std::io::stderr().is_terminal() {
        note(what, json);
        return work.await;
    }
    let bar = ProgressBar::new_spinner();
    bar.set_style(style(false));
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    let done = work.await;
    bar.finish_and_clear();
    done
}

/// Bars, one an item. They vanish when done. Where standard error is no terminal, a line comes now and then instead, and
/// where it is for JSON, nothing.
pub(crate) struct Bars {
    all: MultiProgress,
    by_item: HashMap<String, ProgressBar>,
    lines: Option<Lines>,
}

/// When the next line is due.
struct Lines {
    last: Instant,
}

impl Lines {
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now.duration_since(self.last) >= LINE_STEP;
        if due {
            self.last = now;
        }
        due
    }
}

impl Bars {
    pub(crate) fn new(json: bool) -> Self {
        let all = if json {
            MultiProgress::with_draw_target(ProgressDrawTarget::hidden())
        } else {
            MultiProgress::new()
        };
        let lines = (!json && !std::io::stderr().is_terminal()).then(|| Lines { last: Instant::now() });
        Self {
            all,
            by_item: HashMap::new(),
            lines,
        }
    }

    /// Shows a step of an image.
    pub(crate) fn image(&mut self, step: &ImageProgress) {
        let word = match step.phase {
            ImagePhase::Resolving => "resolving",
            ImagePhase::Downloading => "downloading",
            ImagePhase::Verifying => "verifying",
            ImagePhase::Converting => "converting",
            ImagePhase::Done => "done",
            ImagePhase::Unknown => "working",
        };
        let done = step.phase == ImagePhase::Done;
        let far = match step.total_bytes {
            0 => String::new(),
            total => format!(": {} of {}", HumanBytes(step.current_bytes), HumanBytes(total)),
        };
        self.line(|| format!("{word} {}{far}", step.item));
        self.show(
            &format!("{word} {}", step.item),
            step.current_bytes,
            step.total_bytes,
            done,
        );
    }

    /// Shows a step of a kernel.
    pub(crate) fn kernel(&mut self, step: &KernelProgress) {
        let word = match step.phase {
            KernelPhase::Receiving => "receiving",
            KernelPhase::Reading => "reading",
            KernelPhase::Extracting => "extracting",
            KernelPhase::Resolving => "resolving modules",
            KernelPhase::Storing => "storing",
            KernelPhase::Building => "building",
            KernelPhase::Unknown => "working",
        };
        self.line(|| match &step.message {
            Some(message) => format!("{word}: {message}"),
            None => word.to_owned(),
        });
        self.show(word, step.current_bytes, step.total_bytes, false);
        if let (Some(message), Some(bar)) = (&step.message, self.by_item.get(word)) {
            bar.set_message(message.clone());
        }
    }

    fn line(&mut self, text: impl FnOnce() -> String) {
        if self.lines.as_mut().is_some_and(|lines| lines.is_due(Instant::now())) {
            note(text(), false);
        }
    }

    fn show(&mut self, item: &str, current: u64, total: u64, done: bool) {
        let bar = self.by_item.entry(item.to_owned()).or_insert_with(|| {
            let bar = self.all.add(if total > 0 {
                ProgressBar::new(total)
            } else {
                ProgressBar::new_spinner()
            });
            bar.set_style(style(total > 0));
            bar.set_prefix(item.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if total > 0 && bar.length() != Some(total) {
            bar.set_length(total);
            bar.set_style(style(true));
        }
        bar.set_position(current);
        if done || (total > 0 && current >= total) {
            bar.finish();
        }
    }

    /// Takes all bars away.
    pub(crate) fn clear(self) {
        // Drawing is for show; a terminal that is gone is no error.
        let _ = self.all.clear();
    }
}

fn style(bounded: bool) -> ProgressStyle {
    let template = if bounded {
        "{prefix:<36!} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}"
    } else {
        "{prefix:<36!} {spinner} {msg}"
    };
    ProgressStyle::with_template(template)
        .map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("=> "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_now_and_then() {
        let start = Instant::now();
        let mut lines = Lines { last: start };
        let due: Vec<u64> = (0..10)
            .filter(|seconds| lines.is_due(start + Duration::from_secs(*seconds)))
            .collect();
        assert_eq!(due, [3, 6, 9]);
    }
}
