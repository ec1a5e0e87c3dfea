//! Starting an image on this machine with a read-only root: by podman, or in a chroot where podman cannot start it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::build::Machine;
use super::layer::{APP, BINARY};
use super::layout::{ENVIRONMENT, USER};
use super::verify::unpack;
use crate::commands::Result;
use crate::commands::setup::{installed, runs};

/// What starts the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// podman with crun.
    Crun,
    /// podman with runc, which runs on machines with cgroups of both versions too.
    Runc,
    /// The unpacked files as the root of a process with a mount namespace of its own. It needs root.
    Chroot,
}

impl Runtime {
    pub const ALL: [Self; 3] = [Self::Crun, Self::Runc, Self::Chroot];

    /// The first that starts the image on this machine, after installing podman if need be.
    ///
    /// # Errors
    /// None does.
    pub fn available(tar: &Path) -> Result<Self> {
        installed(|| runs("podman", &["--version"]), &["crun", "podman", "runc"]);
        let starts = |runtime: &Self| starts(*runtime, tar).unwrap_or(false);
        let none = "neither podman nor a chroot starts the image here: install podman, or run this as root";
        Ok(Self::ALL.into_iter().find(starts).ok_or(none)?)
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Crun => "podman with crun",
            Self::Runc => "podman with runc",
            Self::Chroot => "chroot",
        })
    }
}

/// Whether the gateway itself answers: without settings it names the one that is missing.
fn starts(runtime: Runtime, tar: &Path) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let container = Container::new(runtime, tar, folder.path())?;
    let output = container.command(&BTreeMap::new(), &["check"]).output()?;
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    Ok(output.status.code() == Some(64) && text.contains("CLOAKROOM_PUBLIC_ORIGIN"))
}

/// An image that can be started. Dropping it removes podman's containers.
#[derive(Debug)]
pub struct Container {
    runtime: Runtime,
    tar: PathBuf,
    folder: PathBuf,
    /// A file of this machine, and the path of the file that it replaces.
    file: Option<(PathBuf, String)>,
}

impl Container {
    /// With an empty folder for the unpacked files, or for podman's storage.
    ///
    /// # Errors
    /// The image is not for this machine, or the folder cannot be written.
    pub fn new(runtime: Runtime, tar: &Path, folder: &Path) -> Result<Self> {
        if runtime == Runtime::Chroot {
            let processor = Machine::current().processor.ok_or("there is no image for this machine")?;
            fs::create_dir_all(folder.join("root"))?;
            unpack(tar, processor, &folder.join("root"))?;
            // Other runtimes add these too.
            fs::write(folder.join("root/etc/hosts"), "127.0.0.1 localhost\n")?;
            fs::create_dir(folder.join("root/dev"))?;
        }
        Ok(Self { runtime, tar: tar.to_owned(), folder: folder.to_owned(), file: None })
    }

    /// Mounts a file of this machine over a file of the image.
    #[must_use]
    pub fn with_file(mut self, source: &Path, path: &str) -> Self {
        self.file = Some((source.to_owned(), path.to_owned()));
        self
    }

    /// Starts the gateway with the image's own settings, these, and the network of this machine.
    #[must_use]
    pub fn command(&self, settings: &BTreeMap<String, String>, arguments: &[&str]) -> Command {
        let mut command = match self.runtime {
            Runtime::Crun => self.podman_run("crun", settings),
            Runtime::Runc => self.podman_run("runc", settings),
            Runtime::Chroot => self.chroot(settings),
        };
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn podman(&self) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.folder.join("storage")).arg("--runroot").arg(self.folder.join("run"));
        command.args(["--storage-driver", "vfs"]);
        command
    }

    fn podman_run(&self, runtime: &str, settings: &BTreeMap<String, String>) -> Command {
        let mut command = self.podman();
        command.args(["--runtime", runtime, "run", "--rm", "--quiet", "--network", "host"]);
        command.args(["--read-only", "--read-only-tmpfs=false", "--cap-drop", "all"]);
        // podman's own limits are higher than some machines allow.
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        for (name, value) in settings {
            command.args(["--env", &format!("{name}={value}")]);
        }
        if let Some((source, path)) = &self.file {
            command.args(["--volume", &format!("{}:/{path}:ro", source.display())]);
        }
        command.arg(format!("oci-archive:{}", self.tar.display()));
        command
    }

    fn chroot(&self, settings: &BTreeMap<String, String>) -> Command {
        /// Arguments: the folder, the working directory, the user, the group, a file and where to mount it, the program
        /// and its arguments.
        const SCRIPT: &str = r#"set -e
            folder=$1 directory=$2 user=$3 group=$4 file=$5 path=$6
            shift 6
            mount --bind "$folder" "$folder"
            mount --bind /dev "$folder/dev"
            test -z "$file" || mount --bind "$file" "$folder/$path"
            mount -o remount,bind,ro "$folder"
            exec unshare --root="$folder" --wd="$directory" --setuid="$user" --setgid="$group" "$@""#;
        let (user, group) = USER.split_once(':').unwrap_or((USER, USER));
        let (file, path) = self.file.clone().unwrap_or_default();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]);
        command.arg(self.folder.join("root")).args([&format!("/{APP}"), user, group]);
        command.arg(file).args([path, format!("/{BINARY}")]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(ENVIRONMENT.iter().filter_map(|setting| setting.split_once('='))).envs(settings);
        command
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.runtime != Runtime::Chroot {
            // Only what is in this storage. vfs's folders can be removed afterwards like all others.
            let mut remove = self.podman();
            let _ = remove.args(["rm", "--all", "--force"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}
