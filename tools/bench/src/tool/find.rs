//! Finding the programs, and the command lines that they make with their templates.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Role, ServerKind, Tool, Values};
use crate::child::{Step, call};

/// Where programs are looked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// Before the PATH, in this order.
    pub(crate) folders: Vec<PathBuf>,
    /// Programs that were named, by what they are usually called.
    pub(crate) named: BTreeMap<String, PathBuf>,
}

/// A tool that is on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) tool: &'static Tool,
    pub(crate) program: PathBuf,
    /// Of a tool with a server.
    pub(crate) server: Option<(ServerKind, PathBuf)>,
    /// What it says of its version.
    pub(crate) version: String,
}

/// Finds a tool; why it cannot take part, if it cannot.
pub(crate) fn find(tool: &'static Tool, places: &Places) -> Result<Found, String> {
    let program = places.program(tool.programs, tool.role.is_ours())?;
    let server = match tool.server {
        None => None,
        Some(kind) => {
            let ours = kind == ServerKind::Backstored;
            Some((kind, places.program(kind.programs(), ours)?))
        }
    };
    let said = call(Command::new(&program).arg(tool.version)).map_err(|error| error.to_string())?;
    let mut version = said.lines().next().unwrap_or_default().trim().to_owned();
    if let (Role::PeerThroughServer, Some((_, server))) = (tool.role, &server) {
        let said = call(Command::new(server).arg("--version")).unwrap_or_default();
        version = format!("{version}; {}", said.lines().next().unwrap_or_default().trim());
    }
    if tool.role.is_ours() && program.components().any(|part| part.as_os_str() == "debug") {
        version.push_str(" (DEBUG BUILD: its figures mean nothing)");
    }
    Ok(Found { tool, program, server, version })
}

impl Places {
    fn program(&self, names: &[&str], is_ours: bool) -> Result<PathBuf, String> {
        if let Some(path) = names.iter().find_map(|name| self.named.get(*name)) {
            let absolute = std::path::absolute(path).ok().filter(|path| path.is_file());
            return absolute.ok_or_else(|| format!("{} is no program", path.display()));
        }
        let mut folders: Vec<PathBuf> = Vec::new();
        if is_ours {
            folders.extend(env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned)));
            folders.push(PathBuf::from("target/release"));
        } else {
            folders.extend(self.folders.iter().cloned());
            folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        }
        let candidates = folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
        let found = candidates.into_iter().find(|path| path.is_file());
        // An absolute path: steps run in other folders. Links stay as they are; some programs look at their own name.
        found
            .and_then(|path| std::path::absolute(path).ok())
            .ok_or_else(|| format!("there is no {}", names.join(" or ")))
    }
}

impl Found {
    /// The tool's name in results.
    pub(crate) fn name(&self) -> &'static str {
        self.tool.name
    }

    pub(crate) fn create(&self, values: &Values) -> Vec<Step> {
        self.tool.create.iter().map(|template| self.step(template, values)).collect()
    }

    pub(crate) fn backup(&self, values: &Values) -> Step {
        self.step(self.tool.backup, values)
    }

    pub(crate) fn restore(&self, values: &Values) -> Step {
        let folder = self.tool.restores_where_it_runs.then(|| PathBuf::from(&values.target));
        Step { folder, ..self.step(self.tool.restore, values) }
    }

    /// `None` for a tool that cannot mount.
    pub(crate) fn mount(&self, values: &Values) -> Option<Step> {
        self.tool.mount.map(|template| self.step(template, values))
    }

    pub(crate) fn unmount(&self, values: &Values) -> Step {
        if self.tool.unmount.is_empty() {
            return Step::new(["fusermount3", "-u", &values.mountpoint]);
        }
        self.step(self.tool.unmount, values)
    }

    fn step(&self, template: &[&str], values: &Values) -> Step {
        let mut argv = vec![self.program.clone().into_os_string()];
        argv.extend(template.iter().map(|word| values.expand(word).into()));
        let environment = self.tool.environment.iter();
        let environment =
            environment.map(|(name, value)| ((*name).to_owned(), values.expand(value))).collect();
        Step { argv, environment, ..Step::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::peers;
    use super::*;

    fn found(tool: &'static Tool) -> Found {
        Found { tool, program: "/bin/tool".into(), server: None, version: String::new() }
    }

    #[test]
    fn command_lines() {
        let values = Values {
            repository: "/r".into(),
            state: "/s".into(),
            source: "/src".into(),
            target: "/t".into(),
            mountpoint: "/m".into(),
            number: 2,
            ..Values::default()
        };
        let line = |step: &Step| {
            let words: Vec<_> = step.argv.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            words.join(" ")
        };
        let borg = found(&peers::BORG);
        assert_eq!(line(&borg.backup(&values)), "/bin/tool create -C zstd,3 /r::a2 /src");
        assert_eq!(borg.restore(&values).folder, Some(PathBuf::from("/t")));
        assert_eq!(line(&borg.unmount(&values)), "fusermount3 -u /m");
        let ours = found(&peers::OURS);
        assert_eq!(line(&ours.restore(&values)), "/bin/tool restore --to /t");
        assert_eq!(line(&ours.unmount(&values)), "/bin/tool umount /m");
        assert_eq!(ours.backup(&values).environment[0], ("BACKSTORE_HOME".to_owned(), "/s".to_owned()));
        assert_eq!(found(&peers::BUPSTASH).mount(&values), None);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let named = [("backstore".to_owned(), PathBuf::from("/nonexistent/backstore"))].into();
        let places = Places { named, ..Places::default() };
        assert!(find(&peers::OURS, &places).is_err_and(|problem| problem.contains("/nonexistent/backstore")));
    }
}
