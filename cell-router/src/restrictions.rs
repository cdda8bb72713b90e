//! What clients may do less than their policies say: a file that is watched. It can only tighten.

use mesh_proto::control_v1 as pb;
use serde::Deserialize;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Time between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);

/// The file: `[[logics]]` and `[[methods]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    logics: Vec<Logic>,
    methods: Vec<Method>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Logic {
    name: String,
    #[serde(default)]
    min_minor: u32,
    #[serde(default)]
    disabled: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Method {
    method: String,
    #[serde(default)]
    no_batch: bool,
    #[serde(default)]
    no_coalescing: bool,
    #[serde(default)]
    no_retry: bool,
    #[serde(default)]
    no_direct: bool,
    #[serde(default)]
    max_deadline_ms: u32,
}

/// Reads restrictions as they are written, in TOML.
///
/// # Errors
/// Naming the key that is unknown, missing or wrong.
pub fn parse(text: &str) -> Result<pb::Restrictions, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    for method in &file.methods {
        let path = &method.method;
        if path != "*" && (!path.starts_with('/') || path.matches('/').count() != 2) {
            return Err(format!("methods.method: \"{path}\" is neither \"/package.Service/Method\" nor \"*\""));
        }
    }
    let logics = file.logics.into_iter().map(|Logic { name, min_minor, disabled }| pb::LogicRestriction {
        name,
        min_minor,
        disabled,
    });
    let methods = file.methods.into_iter().map(|method| pb::MethodRestriction {
        method: method.method,
        no_batch: method.no_batch,
        no_coalescing: method.no_coalescing,
        no_retry: method.no_retry,
        no_direct: method.no_direct,
        max_deadline_ms: method.max_deadline_ms,
    });
    Ok(pb::Restrictions { logics: logics.collect(), methods: methods.collect() })
}

/// The restrictions in force; those of the file, if one is given.
#[derive(Debug)]
pub struct Restrictions {
    file: Option<PathBuf>,
    now: watch::Sender<Arc<pb::Restrictions>>,
}

impl Restrictions {
    /// Reads the file once.
    ///
    /// # Errors
    /// If it cannot be read or says something wrong.
    pub fn open(file: Option<PathBuf>) -> Result<Self, String> {
        let now = match &file {
            None => pb::Restrictions::default(),
            Some(path) => read(path)?,
        };
        Ok(Self { file, now: watch::Sender::new(Arc::new(now)) })
    }

    /// Changes of the restrictions.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<pb::Restrictions>> {
        self.now.subscribe()
    }

    /// Looks at the file for ever, and holds the sending end for as long. What cannot be read, or was not there at two looks
    /// in a row, changes nothing: neither an operator's slip nor half a file must lift a restriction.
    pub async fn follow(&self) {
        let Some(path) = &self.file else { return std::future::pending().await };
        let (mut fault, mut before) = (None, None);
        loop {
            tokio::time::sleep(LOOK).await;
            match read(path) {
                Ok(read) if before.as_ref() != Some(&read) => before = Some(read),
                Ok(read) => {
                    fault = None;
                    self.now.send_if_modified(|now| {
                        let news = **now != read;
                        if news {
                            tracing::info!(
                                logics = read.logics.len(),
                                methods = read.methods.len(),
                                "restrictions changed"
                            );
                            *now = Arc::new(read);
                        }
                        news
                    });
                }
                Err(error) => {
                    before = None;
                    if fault.as_ref() != Some(&error) {
                        tracing::error!(%error, "restrictions cannot be read; those in force stay");
                        fault = Some(error);
                    }
                }
            }
        }
    }
}

fn read(path: &std::path::Path) -> Result<pb::Restrictions, String> {
    let fault = |error: &dyn std::fmt::Display| format!("key \"router.restrictions\": {}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| fault(&error))?;
    parse(&text).map_err(|error| fault(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restrictions_are_read_as_written() {
        let text = "[[logics]]\nname = \"follow\"\nmin_minor = 2\n[[methods]]\nmethod = \"*\"\nno_batch = true\n";
        let read = parse(text).expect("they are well formed");
        assert!(read.logics[0].name == "follow" && read.logics[0].min_minor == 2 && !read.logics[0].disabled);
        assert!(read.methods[0].method == "*" && read.methods[0].no_batch && !read.methods[0].no_retry);
    }

    /// Paused time: the follower looks whenever this waits for a second.
    #[tokio::test(start_paused = true)]
    async fn what_stands_in_the_file_at_one_look_only_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("restrictions.toml");
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        let whole = "[[methods]]\nmethod = \"*\"\nno_batch = true\n";
        write(whole);
        let restrictions = Arc::new(Restrictions::open(Some(path.clone())).expect("well formed"));
        let mut told = restrictions.watch();
        let following = Arc::clone(&restrictions);
        let follower = tokio::spawn(async move { following.follow().await });
        let look = || tokio::time::sleep(LOOK);
        tokio::time::sleep(LOOK / 2).await;
        for _ in 0..3 {
            // Cut to nothing, and written anew, as editors do.
            write("");
            look().await;
            write(whole);
            look().await;
        }
        assert!(!told.has_changed().expect("it is followed"), "half a file lifts nothing");
        write("");
        look().await;
        write("nonsense");
        look().await;
        assert!(!told.has_changed().expect("it is followed"), "nor does one that cannot be read");
        write("");
        look().await;
        assert!(!told.has_changed().expect("it is followed"), "not two looks in a row");
        look().await;
        assert!(told.borrow_and_update().methods.is_empty(), "two looks found the same");
        follower.abort();
    }

    #[test]
    fn a_wrong_key_or_path_is_named() {
        for (text, name) in [
            ("[[logics]]\nnam = \"x\"", "nam"),
            ("[[methods]]\nno_batch = true", "method"),
            ("[[methods]]\nmethod = \"x.S/M\"", "x.S/M"),
            ("[[methods]]\nmethod = \"*\"\nno_batch = 1", "no_batch"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(name), "{error}");
        }
    }
}
