//! The files whose change restarts the host.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::time::sleep;

/// How often to look. Asking for a dozen times of change is cheaper than what a notifying crate brings along.
const INTERVAL: Duration = Duration::from_millis(200);

type Seen = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// `host.json` and every `*/function.json`, as they were.
pub(super) struct Files {
    root: PathBuf,
    seen: Seen,
}

impl Files {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), seen: look(root) }
    }

    /// Ends when a file has come, gone or changed, and then kept still for as long as it takes to look again.
    pub(super) async fn changed(&mut self) {
        let mut last = look(&self.root);
        loop {
            sleep(INTERVAL).await;
            let now = look(&self.root);
            if now != self.seen && now == last {
                self.seen = now;
                return;
            }
            last = now;
        }
    }
}

fn look(root: &Path) -> Seen {
    let folders =
        std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path().join("function.json"));
    let paths = folders.chain([root.join("host.json")]);
    let found = paths.filter_map(|path| {
        let metadata = std::fs::metadata(&path).ok()?;
        Some((path, (metadata.modified().ok(), metadata.len())))
    });
    found.collect()
}
