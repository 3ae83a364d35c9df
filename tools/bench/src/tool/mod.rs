//! The programs compared: how each is told what to do. Plain data; what is in braces is filled in for a run.

mod find;
mod peers;
mod server;

pub(crate) use find::{Found, Places, find};
pub(crate) use server::{RunningServer, invitation, make_vault};

use crate::error::BenchError;

/// A program, and the way it is used here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Its name in results and reports.
    pub(crate) name: &'static str,
    /// What it is called with `--tools`.
    pub(crate) family: &'static str,
    pub(crate) role: Role,
    /// Names of the program, the preferred one first.
    pub(crate) programs: &'static [&'static str],
    /// The argument that makes it say its version.
    pub(crate) version: &'static str,
    /// Settings that matter to a comparison, for the report.
    pub(crate) settings: &'static str,
    /// It encrypts what it stores.
    pub(crate) is_sealed: bool,
    pub(crate) server: Option<ServerKind>,
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Below `{state}`: what mounts and restores keep of what they read, for the next ones. What a backup keeps is not in it.
    pub(crate) kept: &'static [&'static str],
    pub(crate) create: &'static [&'static [&'static str]],
    pub(crate) backup: &'static [&'static str],
    pub(crate) restore: &'static [&'static str],
    /// It restores into the folder it runs in.
    pub(crate) restores_where_it_runs: bool,
    /// Stays in the foreground.
    pub(crate) mount: Option<&'static [&'static str]>,
    pub(crate) unmount: &'static [&'static str],
    /// Where a mount shows the folder that was backed up.
    pub(crate) tree: TreeAt,
}

/// What a tool is to the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// BackStore through QUIC to a server on this machine.
    Ours,
    /// BackStore into a folder.
    OursToFolder,
    /// A peer, into a folder.
    Peer,
    /// A peer through its server on this machine: shown, but not what goals refer to.
    PeerThroughServer,
}

impl Role {
    pub(crate) fn is_ours(self) -> bool {
        match self {
            Self::Ours | Self::OursToFolder => true,
            Self::Peer | Self::PeerThroughServer => false,
        }
    }
}

/// Which server a tool talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerKind {
    Backstored,
    RestServer,
}

impl ServerKind {
    /// Names of the program.
    pub(crate) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Backstored => &["backstored"],
            Self::RestServer => &["restic-rest-server", "rest-server"],
        }
    }
}

/// Where a mount shows the folder that was backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TreeAt {
    /// Below this folder of the mount, under its own path or without it.
    Below(&'static str),
    /// Under its own path below the last of the folders that are not hidden.
    BelowLastFolder,
}

/// What braces stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    /// `{repository}`: the folder that backups go to.
    pub(crate) repository: String,
    /// `{state}`: the tool's own folder for keys, caches and configuration.
    pub(crate) state: String,
    /// `{source}`: what is backed up.
    pub(crate) source: String,
    /// `{target}`: where it is restored to.
    pub(crate) target: String,
    /// `{mountpoint}`.
    pub(crate) mountpoint: String,
    /// `{destination}`: for tools with a server, how they reach it.
    pub(crate) destination: String,
    /// `{number}`: of this backup in its repository, from 1.
    pub(crate) number: u32,
}

impl Values {
    /// Fills a template in.
    pub(crate) fn expand(&self, template: &str) -> String {
        let pairs = [
            ("{repository}", &*self.repository),
            ("{state}", &self.state),
            ("{source}", &self.source),
            ("{target}", &self.target),
            ("{mountpoint}", &self.mountpoint),
            ("{destination}", &self.destination),
            ("{number}", &self.number.to_string()),
        ];
        pairs.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

/// All tools, ours first, in the order in which they take turns.
pub(crate) fn all() -> &'static [&'static Tool] {
    &[
        &peers::OURS,
        &peers::OURS_FOLDER,
        &peers::BUPSTASH,
        &peers::RESTIC,
        &peers::RESTIC_SERVED,
        &peers::RUSTIC,
        &peers::BORG,
        &peers::CONSERVE,
    ]
}

/// The tools of a comma-separated list of families, all of them without one.
pub(crate) fn chosen(list: Option<&str>) -> Result<Vec<&'static Tool>, BenchError> {
    let Some(list) = list else { return Ok(all().to_vec()) };
    let families: Vec<&str> = list.split(',').map(str::trim).collect();
    let known = |family: &str| all().iter().any(|tool| tool.family == family);
    if let Some(unknown) = families.iter().find(|family| !known(family)) {
        let known: std::collections::BTreeSet<&str> = all().iter().map(|tool| tool.family).collect();
        let known: Vec<&str> = known.into_iter().collect();
        return Err(BenchError::Usage(format!("no tool {unknown:?}; there are {}", known.join(", "))));
    }
    Ok(all().iter().copied().filter(|tool| families.contains(&tool.family)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_in() {
        let values = Values { repository: "/r".into(), number: 3, ..Values::default() };
        assert_eq!(values.expand("{repository}::a{number}"), "/r::a3");
        assert_eq!(values.expand("--json"), "--json");
    }

    #[test]
    fn every_template_is_known() {
        let values = Values::default();
        for tool in all() {
            let steps =
                tool.create.iter().chain([&tool.backup, &tool.restore, &tool.unmount]).chain(&tool.mount);
            let words =
                steps.flat_map(|step| step.iter()).chain(tool.environment.iter().map(|(_, value)| value));
            for word in words {
                assert!(!values.expand(word).contains('{'), "{}: {word}", tool.name);
            }
        }
    }

    #[test]
    fn families_choose_tools() {
        let names =
            |list| chosen(Some(list)).map(|tools| tools.iter().map(|tool| tool.name).collect::<Vec<_>>());
        assert_eq!(
            names("restic,ours").expect("known"),
            ["ours", "ours-folder", "restic", "restic+rest-server"]
        );
        assert!(names("tar").is_err());
        assert_eq!(chosen(None).expect("all").len(), all().len());
    }
}
