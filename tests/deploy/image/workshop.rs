//! Where images are built and run: by buildah and podman, without a daemon, in a folder of their own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lockstead_tests::{PATIENCE, lockstead};
use serde_json::Value;
use tempfile::TempDir;

use crate::repository;

pub(super) const IMAGE: &str = "localhost/lockstead:test";
/// The names in the Dockerfile.
const BASE: &str = "docker.io/library/debian:bookworm-slim";
const RUST: &str = "docker.io/library/rust:1.95-bookworm";
/// What of Debian is there under these names. Nothing but a C library and a shell is needed.
const BASE_PACKAGES: &str = "base-files,base-passwd,coreutils,dash,libc-bin,libgcc-s1";
/// The `cargo` of the image that is to compile.
const CARGO: &str = "\
#!/bin/sh
set -e
test -s Cargo.lock && test -s server/lockstead/src/main.rs
mkdir -p target/release/.fingerprint/lockstead-0
cp /program target/release/lockstead
";
/// What a machine without systemd needs, and one whose limits are lower than podman's own.
const CONTAINERS_CONF: &str = "\
[containers]
default_ulimits = [\"nofile=20000:20000\", \"nproc=4096:4096\"]
[engine]
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
";

/// Images and containers of a test, all of which go with it.
pub(super) struct Workshop {
    folder: TempDir,
}

/// A container of the image, which may have ended.
pub(super) struct Container<'a> {
    workshop: &'a Workshop,
    id: String,
}

/// Runs a command that must succeed, or says what can't be had without it.
fn must(purpose: &str, command: &mut Command) -> Output {
    let program = command.get_program().display().to_string();
    let told = command.output().unwrap_or_else(|error| {
        panic!("{purpose}: {program} can't be run ({error}); run tests/setup, which installs it")
    });
    let (code, said) = (told.status, String::from_utf8_lossy(&told.stderr));
    assert!(
        told.status.success(),
        "{purpose}: this could not run here, and nothing after it was tried: {command:?}\n{code}\n{said}"
    );
    told
}

impl Workshop {
    /// Builds the image.
    pub(super) fn build() -> Self {
        let workshop = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(workshop.folder.path().join("containers.conf"), CONTAINERS_CONF).unwrap();
        let base = base();
        workshop.import(&base, BASE);
        workshop.import(&workshop.with_cargo(&base), RUST);
        let mut build = workshop.tool("buildah", &["build", "--isolation", "chroot", "--pull-never"]);
        build.args(["--format", "docker", "--tag", IMAGE]);
        must("the image from the Dockerfile", build.arg(repository("")));
        workshop
    }

    fn import(&self, tar: &Path, name: &str) {
        must("a stand-in for an image", self.podman(&["import"]).arg(tar).arg(name));
    }

    /// The base with a `cargo` that gives out the program under test.
    fn with_cargo(&self, base: &Path) -> PathBuf {
        let (tar, files) = (self.folder.path().join("rust.tar"), self.folder.path().join("rust"));
        let [cargo, certificates, program] = ["usr/local/bin/cargo", "etc/ssl/certs/ca-certificates.crt", "program"];
        for path in [cargo, certificates] {
            std::fs::create_dir_all(files.join(path).parent().unwrap()).unwrap();
        }
        std::fs::write(files.join(cargo), CARGO).unwrap();
        std::fs::set_permissions(files.join(cargo), Permissions::from_mode(0o755)).unwrap();
        // Nothing here asks for TLS.
        std::fs::write(files.join(certificates), "").unwrap();
        std::fs::copy(lockstead(), files.join(program)).unwrap();
        std::fs::copy(base, &tar).unwrap();
        let mut append = Command::new("tar");
        append.arg("--directory").arg(&files).arg("--append").arg("--file").arg(&tar).args([
            cargo,
            certificates,
            program,
        ]);
        must("a stand-in for an image with cargo", &mut append);
        std::fs::remove_dir_all(files).unwrap();
        tar
    }

    /// What podman knows of the image.
    pub(super) fn inspect(&self) -> Value {
        let told = must("a look at the image", &mut self.podman(&["image", "inspect", IMAGE]));
        serde_json::from_slice::<Value>(&told.stdout).unwrap()[0].take()
    }

    /// Runs the image as it is meant to be run: on a root that can't be written to, without capabilities or a network.
    pub(super) fn run(&self, flags: &[&str]) -> Container<'_> {
        self.run_with(flags, &[])
    }

    /// The same, with arguments.
    pub(super) fn run_with(&self, flags: &[&str], arguments: &[&str]) -> Container<'_> {
        let mut run = self.podman(&["--runtime", "runc", "run", "--detach", "--network", "none", "--read-only"]);
        run.args(["--read-only-tmpfs=false", "--cap-drop", "all", "--security-opt", "no-new-privileges"]);
        let told = must("a container of the image", run.args(flags).arg(IMAGE).args(arguments));
        Container { workshop: self, id: String::from_utf8(told.stdout).unwrap().trim().to_owned() }
    }

    /// Runs objects of Kubernetes, and has a look at one of their containers. They share a network of their own.
    pub(super) fn play(&self, objects: &[Value], container: &str) -> Container<'_> {
        let file = self.folder.path().join("objects.yaml");
        let texts: Vec<_> = objects.iter().map(Value::to_string).collect();
        std::fs::write(&file, texts.join("\n---\n")).unwrap();
        let podman = self.podman(&["--runtime", "runc", "play", "kube", "--network", "host"]);
        let mut play = Command::new("unshare");
        play.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]).arg(podman.get_program());
        play.envs(podman.get_envs().filter_map(|(name, value)| Some((name, value?))));
        must("a pod of the chart", play.args(podman.get_args()).arg(file));
        Container { workshop: self, id: container.to_owned() }
    }

    fn podman(&self, arguments: &[&str]) -> Command {
        self.tool("podman", arguments)
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> Command {
        let folder = self.folder.path();
        let mut command = Command::new(program);
        command.env("CONTAINERS_CONF", folder.join("containers.conf"));
        // Files and folders, which work on any file system.
        command.args(["--storage-driver", "vfs"]);
        command.arg("--root").arg(folder.join("root")).arg("--runroot").arg(folder.join("run"));
        command.args(arguments);
        command
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // The folder can't be removed while containers have parts of it mounted.
        _ = self.podman(&["pod", "rm", "--all", "--force", "--time", "0"]).output();
        _ = self.podman(&["rm", "--all", "--force", "--time", "0"]).output();
    }
}

impl Container<'_> {
    /// The id of its first process, as this machine sees it.
    pub(super) fn process(&self) -> String {
        self.ask("{{.State.Pid}}")
    }

    fn ask(&self, format: &str) -> String {
        let told = must("a look at a container", &mut self.workshop.podman(&["inspect", &self.id, "--format", format]));
        String::from_utf8(told.stdout).unwrap().trim().to_owned()
    }

    /// The flag with which `nsenter` enters its network.
    pub(super) fn network(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.process())
    }

    /// A program of this machine in the container's network.
    pub(super) fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([&self.network(), program]);
        command
    }

    /// Runs a program of the image in it.
    pub(super) fn exec(&self, command: &[&str]) -> Output {
        self.workshop.podman(&["exec", &self.id]).args(command).output().unwrap()
    }

    /// Asks what the image's health check asks.
    pub(super) fn is_healthy(&self) -> bool {
        let told = self.workshop.podman(&["healthcheck", "run", &self.id]).output().unwrap();
        let is_known = told.status.success() || told.stdout.starts_with(b"unhealthy");
        assert!(is_known, "the health check can't be run: {told:?}");
        told.status.success()
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: &str) {
        must("a signal to a container", &mut self.workshop.podman(&["kill", "--signal", signal, &self.id]));
    }

    /// Waits for its end.
    pub(super) fn exit_code(&self) -> i32 {
        let wait = self.workshop.podman(&["wait", &self.id]);
        let mut in_time = Command::new("timeout");
        in_time.arg(PATIENCE.as_secs().to_string()).arg(wait.get_program()).args(wait.get_args());
        let told = in_time.envs(wait.get_envs().filter_map(|(name, value)| Some((name, value?)))).output().unwrap();
        let code = String::from_utf8_lossy(&told.stdout).trim().parse();
        code.unwrap_or_else(|_| panic!("it does not end: {told:?}. It says:\n{}", self.logs()))
    }

    /// What it has said.
    pub(super) fn logs(&self) -> String {
        let told = must("what a container says", &mut self.workshop.podman(&["logs", &self.id]));
        format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr))
    }
}

/// The stand-in for the base. It stays until somebody cleans up.
fn base() -> PathBuf {
    let tar = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bookworm-stand-in.tar");
    if !tar.exists() {
        let unfinished = tar.with_extension(format!("{}.tar", std::process::id()));
        let mut make = Command::new("mmdebstrap");
        make.args(["--quiet", "--variant=extract", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]);
        make.arg(format!("--include={BASE_PACKAGES}")).arg("bookworm").arg(&unfinished);
        must("a stand-in for Debian", &mut make);
        std::fs::rename(unfinished, &tar).unwrap();
    }
    tar
}
