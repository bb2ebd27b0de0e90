//! Progress of pulls, imports and conversions, on standard error.

use std::{collections::HashMap, time::Duration};

use hearth_api::{ImagePhase, ImageProgress, KernelPhase, KernelProgress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Bars, one an item. They vanish when done, and are not drawn where standard error is no terminal or is for JSON.
pub(crate) struct Bars {
    all: MultiProgress,
    bars: HashMap<String, ProgressBar>,
}

impl Bars {
    pub(crate) fn new(json: bool) -> Self {
        let all = if json {
            MultiProgress::with_draw_target(ProgressDrawTarget::hidden())
        } else {
            MultiProgress::new()
        };
        Self {
            all,
            bars: HashMap::new(),
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
        self.show(word, step.current_bytes, step.total_bytes, false);
        if let (Some(message), Some(bar)) = (&step.message, self.bars.get(word)) {
            bar.set_message(message.clone());
        }
    }

    fn show(&mut self, item: &str, current: u64, total: u64, done: bool) {
        let bar = self.bars.entry(item.to_owned()).or_insert_with(|| {
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
