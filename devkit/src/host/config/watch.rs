//! The files whose change restarts the host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

/// A dozen `stat` calls at this interval cost less than a crate that watches files.
const INTERVAL: Duration = Duration::from_millis(200);

type Snapshot = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// Watches `host.json` and every `*/function.json`.
pub(crate) struct Watcher {
    root: PathBuf,
    seen: Snapshot,
}

impl Watcher {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), seen: snapshot(root) }
    }

    /// Ends when a file was added, removed or changed, and nothing changed in the interval after that.
    pub(crate) async fn changed(&mut self) {
        let mut last = snapshot(&self.root);
        loop {
            sleep(INTERVAL).await;
            let now = snapshot(&self.root);
            if now != self.seen && now == last {
                self.seen = now;
                return;
            }
            last = now;
        }
    }
}

fn snapshot(root: &Path) -> Snapshot {
    let folders = std::fs::read_dir(root).into_iter().flatten().flatten();
    let paths = folders.map(|entry| entry.path().join("function.json")).chain([root.join("host.json")]);
    let found = paths.filter_map(|path| {
        let metadata = std::fs::metadata(&path).ok()?;
        Some((path, (metadata.modified().ok(), metadata.len())))
    });
    found.collect()
}
