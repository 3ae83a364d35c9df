//! Which files a set leaves out, by name and path.
//!
//! A pattern without `/` matches a name at any depth: `*.tmp`. One that begins with `/` matches a whole path: `/var/cache/*`. Any other
//! matches the end of a path: `target/debug`. `*` and `?` stop at `/`, `**` does not. A pattern that ends with `/` matches directories only. A
//! directory that is left out takes all it holds with it. A root, and what leads to it, is never left out.

use std::collections::HashSet;

use globset::{GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

use backstore_platform::paths::text_to_native;
use backstore_protocol::path::ArchivePath;

/// Left out unless a set says `no-default-exclusions`: what is made again by itself, and what was thrown away.
///
/// Besides these, file systems made up by the kernel are not entered, and of a directory with a valid `CACHEDIR.TAG` only that file is kept.
pub const DEFAULT_EXCLUSIONS: &[&str] = &[
    "/dev/shm/*",
    "/home/*/.cache/*",
    "/home/*/.local/share/Trash/*",
    "/root/.cache/*",
    "/root/.local/share/Trash/*",
    "/swap.img",
    "/swapfile",
    "/var/cache/*",
    "/var/tmp/*",
    "/tmp/*",
    "/Users/*/.Trash/*",
    "/Users/*/Library/Caches/*",
    "/private/var/vm/*",
    "/.Spotlight-V100/",
    "/.fseventsd/",
    "C:/hiberfil.sys",
    "C:/pagefile.sys",
    "C:/swapfile.sys",
    "$RECYCLE.BIN/",
    "System Volume Information/",
];

/// The default patterns that make sense for these roots: whoever selects `/tmp` means what is in it.
pub fn default_exclusions(roots: &[ArchivePath]) -> impl Iterator<Item = &'static str> {
    let selected = |pattern: &&str| {
        let parent = pattern.strip_suffix("/*").and_then(|parent| PathPattern::new(parent).ok());
        parent.is_some_and(|parent| roots.iter().any(|root| parent.matches(root)))
    };
    DEFAULT_EXCLUSIONS.iter().copied().filter(move |pattern| !selected(pattern))
}

/// The compiled patterns of a set.
#[derive(Debug, Clone, Default)]
pub struct Exclusions {
    /// Names without wildcards, which most patterns are.
    names: HashSet<Vec<u8>>,
    directory_names: HashSet<Vec<u8>>,
    name_globs: GlobSet,
    directory_name_globs: GlobSet,
    paths: GlobSet,
    directory_paths: GlobSet,
    /// Roots and their ancestors.
    kept: HashSet<ArchivePath>,
}

/// A pattern that says nothing.
#[derive(Debug, thiserror::Error)]
#[error("exclusion pattern {pattern:?}: {problem}")]
pub struct ExcludeError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: String,
}

struct Builders {
    names: GlobSetBuilder,
    directory_names: GlobSetBuilder,
    paths: GlobSetBuilder,
    directory_paths: GlobSetBuilder,
}

impl Exclusions {
    /// Compiles patterns; `roots` are never left out.
    pub fn new<'a>(
        patterns: impl IntoIterator<Item = &'a str>,
        roots: &[ArchivePath],
    ) -> Result<Self, ExcludeError> {
        let mut exclusions = Self::default();
        let new = GlobSetBuilder::new;
        let mut builders =
            Builders { names: new(), directory_names: new(), paths: new(), directory_paths: new() };
        for pattern in patterns {
            exclusions.add(pattern, &mut builders)?;
        }
        let build = |builder: &GlobSetBuilder| {
            builder
                .build()
                .map_err(|error| ExcludeError { pattern: String::new(), problem: error.kind().to_string() })
        };
        exclusions.name_globs = build(&builders.names)?;
        exclusions.directory_name_globs = build(&builders.directory_names)?;
        exclusions.paths = build(&builders.paths)?;
        exclusions.directory_paths = build(&builders.directory_paths)?;
        for root in roots {
            let mut path = Some(root.clone());
            while let Some(kept) = path {
                path = kept.parent();
                exclusions.kept.insert(kept);
            }
        }
        Ok(exclusions)
    }

    fn add(&mut self, pattern: &str, builders: &mut Builders) -> Result<(), ExcludeError> {
        let (text, directories_only) = match pattern.strip_suffix('/') {
            Some(text) => (text, true),
            None => (pattern, false),
        };
        if text.is_empty() {
            return Err(ExcludeError { pattern: pattern.to_owned(), problem: "it names nothing".to_owned() });
        }
        let is_name = !text.contains('/');
        if is_name && !text.contains(['*', '?', '[', ']', '{', '}', '\\']) {
            let names = if directories_only { &mut self.directory_names } else { &mut self.names };
            names.insert(text.as_bytes().to_vec());
            return Ok(());
        }
        let is_whole = text.starts_with('/') || text.as_bytes().get(1..3) == Some(b":/");
        let whole = if is_name || is_whole || text.starts_with("**/") {
            text.to_owned()
        } else {
            format!("**/{text}")
        };
        let glob = GlobBuilder::new(&whole).literal_separator(true).backslash_escape(true).build();
        let glob = glob.map_err(|error| ExcludeError {
            pattern: pattern.to_owned(),
            problem: error.kind().to_string(),
        })?;
        let builder = match (is_name, directories_only) {
            (true, false) => &mut builders.names,
            (true, true) => &mut builders.directory_names,
            (false, false) => &mut builders.paths,
            (false, true) => &mut builders.directory_paths,
        };
        builder.add(glob);
        Ok(())
    }

    /// Whether the file `name` in `directory` is left out.
    pub fn excludes(&self, directory: &ArchivePath, name: &[u8], is_directory: bool) -> bool {
        let by_name = self.names.contains(name)
            || (is_directory && self.directory_names.contains(name))
            || glob_matches(&self.name_globs, name)
            || (is_directory && glob_matches(&self.directory_name_globs, name));
        let hit = by_name || self.excludes_path(directory, name, is_directory);
        hit && !directory.join(name).is_ok_and(|path| self.kept.contains(&path))
    }

    fn excludes_path(&self, directory: &ArchivePath, name: &[u8], is_directory: bool) -> bool {
        if self.paths.is_empty() && (!is_directory || self.directory_paths.is_empty()) {
            return false;
        }
        let path = slashed(directory, name);
        glob_matches(&self.paths, &path) || (is_directory && glob_matches(&self.directory_paths, &path))
    }
}

fn glob_matches(globs: &GlobSet, bytes: &[u8]) -> bool {
    !globs.is_empty() && globs.is_match(&*text_to_native(bytes))
}

/// A path with `/` between its components, whatever the system: `/home/a` or `C:/Users`.
fn slashed(directory: &ArchivePath, name: &[u8]) -> Vec<u8> {
    let joined = directory.joined();
    let mut path = Vec::with_capacity(joined.len() + 1 + name.len());
    path.extend(
        joined.strip_prefix(b"/").unwrap_or(joined).iter().map(|byte| if *byte == 0 { b'/' } else { *byte }),
    );
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

/// One pattern for choosing what to restore or list; the rules are those of exclusions.
#[derive(Debug, Clone)]
pub struct PathPattern {
    matcher: GlobMatcher,
    is_name: bool,
}

impl PathPattern {
    /// Compiles a pattern.
    pub fn new(pattern: &str) -> Result<Self, ExcludeError> {
        let problem = |problem: String| ExcludeError { pattern: pattern.to_owned(), problem };
        if pattern.is_empty() {
            return Err(problem("it names nothing".to_owned()));
        }
        let is_name = !pattern.contains('/');
        let is_whole = pattern.starts_with('/') || pattern.as_bytes().get(1..3) == Some(b":/");
        let whole = if is_name || is_whole || pattern.starts_with("**/") {
            pattern.to_owned()
        } else {
            format!("**/{pattern}")
        };
        let glob = GlobBuilder::new(&whole).literal_separator(true).backslash_escape(true).build();
        let glob = glob.map_err(|error| problem(error.kind().to_string()))?;
        Ok(Self { matcher: glob.compile_matcher(), is_name })
    }

    /// Whether it may match a file of this name. What is compared with paths, may match any.
    pub fn may_match_name(&self, name: &[u8]) -> bool {
        !self.is_name || self.matcher.is_match(&*text_to_native(name))
    }

    /// Whether it matches this file.
    pub fn matches(&self, path: &ArchivePath) -> bool {
        let bytes = match path.parent() {
            Some(_) if self.is_name => path.name().to_vec(),
            Some(parent) => slashed(&parent, path.name()),
            None => path.name().to_vec(),
        };
        self.matcher.is_match(&*text_to_native(&bytes))
    }
}
