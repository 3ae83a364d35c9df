//! How each tool is used: as its documentation tells a user to, with its defaults, unless `settings` says otherwise.

use super::{Role, ServerKind, Tool, TreeAt};

pub(super) const OURS: Tool = Tool {
    name: "ours",
    family: "ours",
    role: Role::Ours,
    programs: &["backstore"],
    version: "--version",
    settings: "defaults (zstd 3), through QUIC to `backstored` on the same machine; no exclusions",
    is_sealed: true,
    server: Some(ServerKind::Backstored),
    environment: OUR_ENVIRONMENT,
    kept: &["cache/objects", "cache/history"],
    create: &[&["login", "{destination}", "--device", "bench"], ADD_SET],
    backup: &["backup", "bench", "--json"],
    restore: &["restore", "--to", "{target}"],
    restores_where_it_runs: false,
    mount: Some(&["mount", "{mountpoint}", "--foreground"]),
    unmount: &["umount", "{mountpoint}"],
    tree: TreeAt::BelowLastFolder,
};

pub(super) const OURS_FOLDER: Tool = Tool {
    name: "ours-folder",
    role: Role::OursToFolder,
    settings: "defaults (zstd 3), into a folder; no exclusions",
    server: None,
    create: &[&["init", "{repository}"], &["login", "{repository}", "--device", "bench"], ADD_SET],
    ..OURS
};

const OUR_ENVIRONMENT: &[(&str, &str)] =
    &[("BACKSTORE_HOME", "{state}"), ("BACKSTORE_PASSWORD", "bench-password")];
const ADD_SET: &[&str] = &["set", "add", "bench", "{source}", "--no-default-exclusions"];

pub(super) const RESTIC: Tool = Tool {
    name: "restic",
    family: "restic",
    role: Role::Peer,
    programs: &["restic"],
    version: "version",
    settings: "defaults (compression auto)",
    is_sealed: true,
    server: None,
    environment: &[
        ("RESTIC_PASSWORD", "bench"),
        ("RESTIC_REPOSITORY", "{repository}"),
        ("RESTIC_CACHE_DIR", "{state}"),
    ],
    kept: &[],
    create: &[&["init"]],
    backup: &["backup", "-q", "{source}"],
    restore: &["restore", "-q", "latest", "--target", "{target}"],
    restores_where_it_runs: false,
    mount: Some(&["mount", "{mountpoint}"]),
    unmount: FUSERMOUNT,
    tree: TreeAt::Below("snapshots/latest"),
};

pub(super) const RESTIC_SERVED: Tool = Tool {
    name: "restic+rest-server",
    role: Role::PeerThroughServer,
    settings: "defaults, through rest-server (HTTP without TLS) on the same machine",
    server: Some(ServerKind::RestServer),
    environment: &[
        ("RESTIC_PASSWORD", "bench"),
        ("RESTIC_REPOSITORY", "{destination}"),
        ("RESTIC_CACHE_DIR", "{state}"),
    ],
    ..RESTIC
};

pub(super) const RUSTIC: Tool = Tool {
    name: "rustic",
    family: "rustic",
    role: Role::Peer,
    programs: &["rustic"],
    version: "--version",
    settings: "defaults (zstd, its default level)",
    is_sealed: true,
    server: None,
    environment: &[
        ("RUSTIC_PASSWORD", "bench"),
        ("RUSTIC_REPOSITORY", "{repository}"),
        ("RUSTIC_CACHE_DIR", "{state}"),
        ("RUSTIC_NO_PROGRESS", "true"),
        ("HOME", "{state}"),
    ],
    kept: &[],
    create: &[&["init"]],
    backup: &["backup", "{source}"],
    restore: &["restore", "latest", "{target}"],
    restores_where_it_runs: false,
    mount: Some(&["mount", "{mountpoint}", "latest"]),
    unmount: FUSERMOUNT,
    tree: TreeAt::Below(""),
};

pub(super) const BORG: Tool = Tool {
    name: "borg",
    family: "borg",
    role: Role::Peer,
    programs: &["borg"],
    version: "--version",
    settings: "repokey-blake2, zstd 3 (its default, lz4, stores much more)",
    is_sealed: true,
    server: None,
    environment: &[
        ("BORG_PASSPHRASE", "bench"),
        ("BORG_BASE_DIR", "{state}"),
        ("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes"),
        ("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes"),
    ],
    kept: &[],
    create: &[&["init", "-e", "repokey-blake2", "{repository}"]],
    backup: &["create", "-C", "zstd,3", "{repository}::a{number}", "{source}"],
    restore: &["extract", "{repository}::a{number}"],
    restores_where_it_runs: true,
    mount: Some(&["mount", "-f", "{repository}::a{number}", "{mountpoint}"]),
    unmount: FUSERMOUNT,
    tree: TreeAt::Below(""),
};

pub(super) const BUPSTASH: Tool = Tool {
    name: "bupstash",
    family: "bupstash",
    role: Role::Peer,
    programs: &["bupstash"],
    version: "version",
    settings: "defaults (zstd, its default level)",
    is_sealed: true,
    server: None,
    environment: &[
        ("BUPSTASH_REPOSITORY", "{repository}"),
        ("BUPSTASH_KEY", "{state}/key"),
        ("BUPSTASH_QUERY_CACHE", "{state}/query-cache"),
        ("BUPSTASH_SEND_LOG", "{state}/send-log"),
        ("XDG_CACHE_HOME", "{state}"),
        ("HOME", "{state}"),
    ],
    kept: &[],
    create: &[&["new-key", "-o", "{state}/key"], &["init"]],
    backup: &["put", "-q", "n=a{number}", "{source}"],
    restore: &["restore", "-q", "--into", "{target}", "n=a{number}"],
    restores_where_it_runs: false,
    mount: None,
    unmount: FUSERMOUNT,
    tree: TreeAt::Below(""),
};

pub(super) const CONSERVE: Tool = Tool {
    name: "conserve",
    family: "conserve",
    role: Role::Peer,
    programs: &["conserve"],
    version: "--version",
    settings: "defaults (snappy); does not encrypt",
    is_sealed: false,
    server: None,
    environment: &[("HOME", "{state}")],
    kept: &[],
    create: &[&["init", "{repository}"]],
    backup: &["backup", "--no-progress", "{repository}", "{source}"],
    restore: &["restore", "--no-progress", "{repository}", "{target}"],
    restores_where_it_runs: false,
    mount: None,
    unmount: FUSERMOUNT,
    tree: TreeAt::Below(""),
};

/// Run as it stands, not as an argument of the tool.
const FUSERMOUNT: &[&str] = &[];
