//! Where BackStore keeps what is its own: configuration, state, cache.
//!
//! `BACKSTORE_HOME` moves all three below it. Without it, Linux follows the XDG base directories (for root as for any user), macOS uses the folders
//! in the user's Library, Windows those of the user's profile. Nothing is created here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The environment variable that moves everything.
pub const HOME_VARIABLE: &str = "BACKSTORE_HOME";

/// The three directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    /// What the user sets; worth keeping.
    pub config: PathBuf,
    /// Keys, identity and progress; losing it means enrolling again.
    pub state: PathBuf,
    /// What can be made again.
    pub cache: PathBuf,
}

/// There is no place for BackStore's own files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this user has no home directory: set {HOME_VARIABLE} to a folder of your choice")]
pub struct NoHome;

impl Directories {
    /// The directories of this user.
    pub fn locate() -> Result<Self, NoHome> {
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        Self::from_environment(&|name| std::env::var_os(name), home.as_deref())
    }

    /// The same with the environment given.
    fn from_environment(
        variable: &dyn Fn(&str) -> Option<OsString>,
        home: Option<&Path>,
    ) -> Result<Self, NoHome> {
        if let Some(moved) = variable(HOME_VARIABLE).filter(|value| !value.is_empty()) {
            // Made absolute, so that it means the same wherever the process goes later.
            return Ok(Self::below(&super::absolute(Path::new(&moved)).map_err(|_| NoHome)?));
        }
        // A relative path there is to be ignored, say the XDG rules.
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let in_home = |below: &str| home.map(|home| home.join(below));
        if cfg!(windows) {
            let (roaming, local) =
                (absolute("APPDATA").ok_or(NoHome)?, absolute("LOCALAPPDATA").ok_or(NoHome)?);
            let own = |path: PathBuf, part: &str| path.join("BackStore").join(part);
            return Ok(Self {
                config: own(roaming, "config"),
                state: own(local.clone(), "state"),
                cache: own(local, "cache"),
            });
        }
        if cfg!(target_os = "macos") {
            let support = in_home("Library/Application Support/BackStore").ok_or(NoHome)?;
            let cache = in_home("Library/Caches/BackStore").ok_or(NoHome)?;
            return Ok(Self { config: support.join("config"), state: support.join("state"), cache });
        }
        let place = |name: &str, below: &str| {
            let base = absolute(name).or_else(|| in_home(below)).ok_or(NoHome)?;
            Ok(base.join("backstore"))
        };
        Ok(Self {
            config: place("XDG_CONFIG_HOME", ".config")?,
            state: place("XDG_STATE_HOME", ".local/state")?,
            cache: place("XDG_CACHE_HOME", ".cache")?,
        })
    }

    fn below(home: &Path) -> Self {
        Self { config: home.join("config"), state: home.join("state"), cache: home.join("cache") }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], home: Option<&str>, expected: Result<[&str; 3], NoHome>) {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        let found = Directories::from_environment(&variable, home.map(Path::new));
        let expected = expected.map(|[config, state, cache]| Directories {
            config: config.into(),
            state: state.into(),
            cache: cache.into(),
        });
        assert_eq!(found, expected, "{variables:?}");
    }

    #[test]
    fn found_as_documented() {
        let in_root = ["/root/.config/backstore", "/root/.local/state/backstore", "/root/.cache/backstore"];
        check(&[], Some("/root"), Ok(in_root));
        check(&[("XDG_CONFIG_HOME", "relative"), ("XDG_STATE_HOME", "")], Some("/root"), Ok(in_root));
        check(
            &[("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "/s"), ("XDG_CACHE_HOME", "/k")],
            None,
            Ok(["/c/backstore", "/s/backstore", "/k/backstore"]),
        );
        check(
            &[("BACKSTORE_HOME", "/b/../x"), ("XDG_CONFIG_HOME", "/c")],
            Some("/root"),
            Ok(["/x/config", "/x/state", "/x/cache"]),
        );
        check(&[("BACKSTORE_HOME", "")], Some("/root"), Ok(in_root));
        check(&[("XDG_CONFIG_HOME", "/c")], None, Err(NoHome));
    }

    #[test]
    fn a_relative_home_is_taken_from_here() {
        let here = std::env::current_dir().unwrap().join("x");
        let place = |part: &str| here.join(part).to_str().unwrap().to_owned();
        check(&[("BACKSTORE_HOME", "x")], None, Ok([&place("config"), &place("state"), &place("cache")]));
    }
}
