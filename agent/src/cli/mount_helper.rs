//! `mount.backstore`: what `mount` and `/etc/fstab` start for file systems of type `backstore`.
//!
//! `mount -t backstore SET DIR -o OPTIONS` runs `mount.backstore SET DIR -o OPTIONS`. The program is this one under that name.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::CliError;

const NAME: &str = "mount.backstore";
/// Sources that mean the only set.
const ONLY_SET: [&str; 2] = ["backstore", "none"];
/// Options of ours without a value, as they stand in a table of file systems.
const FLAGS: [&str; 3] = ["allow_other", "xattrs", "utc"];
/// Options of ours with a value.
const VALUES: [&str; 2] = ["symlinks", "thumbnails"];
/// Options that `mount` and systemd have for themselves, or that say what a mount of ours is anyway.
const IGNORED: [&str; 23] = [
    "_netdev",
    "async",
    "auto",
    "defaults",
    "dev",
    "exec",
    "group",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "nosuid",
    "nouser",
    "owner",
    "relatime",
    "ro",
    "rw",
    "suid",
    "sync",
    "user",
    "users",
];
/// How options begin that others have for themselves.
const IGNORED_STARTS: [&str; 3] = ["x-", "X-", "comment="];

/// The command line that is meant, if the program was started as `mount.backstore`; nothing is to be done for `-f`.
pub(super) fn translate(arguments: &[OsString]) -> Option<Result<Option<Vec<OsString>>, CliError>> {
    let program = Path::new(arguments.first()?).file_name()?;
    (program == NAME).then(|| translate_helper(&arguments[1..]))
}

fn translate_helper(arguments: &[OsString]) -> Result<Option<Vec<OsString>>, CliError> {
    let mut places = Vec::new();
    let mut options = Vec::new();
    let mut is_sloppy = false;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("-o") => options.extend(arguments.next().map(|list| list.to_string_lossy().into_owned())),
            // Namespaces and types are the caller's business.
            Some("-N" | "-t") => _ = arguments.next(),
            Some("-f") => return Ok(None),
            Some("-s") => is_sloppy = true,
            Some("-n" | "-v") => {}
            Some(text) if text.starts_with('-') => {
                return Err(CliError::Usage(format!("{NAME} has no option {text}")));
            }
            Some(_) | None => places.push(argument.as_os_str()),
        }
    }
    let [set, point] = places[..] else {
        return Err(CliError::Usage(format!("say {NAME} SET DIR [-o OPTIONS], as `mount` does")));
    };
    let mut words: Vec<OsString> = ["backstore", "mount"].map(OsString::from).into();
    if !ONLY_SET.iter().any(|name| set == *name) {
        words.extend([OsStr::new("--set"), set].map(OsStr::to_owned));
    }
    for option in options.iter().flat_map(|list| list.split(',')).filter(|option| !option.is_empty()) {
        words.extend(translate_option(option, is_sloppy)?.map(OsString::from));
    }
    words.extend([OsStr::new("--"), point].map(OsStr::to_owned));
    Ok(Some(words))
}

fn translate_option(option: &str, is_sloppy: bool) -> Result<Option<String>, CliError> {
    let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
    let dashed = format!("--{}", name.replace('_', "-"));
    match value {
        None if FLAGS.contains(&name) => Ok(Some(dashed)),
        Some(value) if VALUES.contains(&name) => Ok(Some(format!("{dashed}={value}"))),
        None if IGNORED.contains(&name) => Ok(None),
        _ if is_sloppy || IGNORED_STARTS.iter().any(|start| option.starts_with(start)) => Ok(None),
        _ => Err(CliError::Usage(format!(
            "{NAME} has no mount option {option:?}: there are {}, symlinks=archive and thumbnails=all, small or none",
            FLAGS.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Option<Result<Option<Vec<OsString>>, CliError>> {
        translate(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_line_of_mount_becomes_one_of_ours() {
        for (line, expected) in [
            ("/sbin/mount.backstore docs /mnt -o rw", "backstore mount --set docs -- /mnt"),
            (
                "mount.backstore backstore /mnt -n -v -o ro,allow_other,x-systemd.automount,utc",
                "backstore mount --allow-other --utc -- /mnt",
            ),
            ("mount.backstore none -o thumbnails=none -o xattrs,_netdev -- -mnt", ""),
            (
                "mount.backstore none /m -s -o strange,thumbnails=all",
                "backstore mount --thumbnails=all -- /m",
            ),
        ] {
            match translated(line).unwrap() {
                Ok(words) => assert_eq!(words.unwrap().join(OsStr::new(" ")), expected, "{line}"),
                Err(error) => assert!(expected.is_empty(), "{line}: {error}"),
            }
        }
        assert!(translated("mount.backstore none /m -f").unwrap().unwrap().is_none());
        assert!(translated("backstore mount /m").is_none());
        for wrong in ["none /m -o strange", "none", "none /m /n", "none /m -x", "none /m -o utc=1"] {
            let refused = translated(&format!("mount.backstore {wrong}")).unwrap();
            assert!(matches!(refused, Err(CliError::Usage(_))), "{wrong}");
        }
    }
}
