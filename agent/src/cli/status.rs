//! `backstore status`.

use super::output::say;
use super::threads::Threads;
use super::{CliError, Context, Exit, changes, text};
use crate::cached::ObjectCache;
use crate::home::{AccountFile, Config, LineageMemory};
use crate::scan::Reading;

/// How each set was backed up last; asks nothing of the destination
///
/// With --max-age, the exit code is 1 if a set's last complete backup is older, or there is none.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// The oldest that a backup may be, as 3d or 12h
    #[arg(long, value_name = "AGE", value_parser = text::parse_age)]
    max_age: Option<u64>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// A clock that is set right goes back by no more than this.
const CLOCK_STEP_MS: i64 = 3_600_000;

pub(super) fn run(args: &StatusArgs, context: &Context) -> Result<Exit, CliError> {
    let config = Config::load(&context.home)?;
    let account = AccountFile::load(&context.home)?;
    let now = context.machine.now_ms();
    let mut is_late = config.sets.is_empty() && args.max_age.is_some();
    let mut sets = Vec::new();
    for set in &config.sets {
        let state = LineageMemory::new(&context.home, set.lineage_id()).load();
        let age = state.last_success_at.map(|at| now.saturating_sub(at));
        // A backup in the future was made while the clock was wrong: how old it is nobody knows.
        let known = age.filter(|age| *age >= -CLOCK_STEP_MS);
        let late = args.max_age.is_some_and(|max| known.is_none_or(|age| age > max as i64));
        is_late |= late;
        let reading = set.root_paths().map_or(Reading::Unknown, |roots| Reading::of(&roots));
        let threads = Threads::choose(&config, &reading);
        sets.push((set, state, age, late, reading, threads));
    }
    let cached: u64 =
        context.home.object_cache_paths().iter().map(|folder| ObjectCache::bytes_in(folder)).sum();
    if args.json {
        let sets: Vec<_> = sets
            .iter()
            .map(|(set, state, age, late, reading, threads)| {
                let mut document = serde_json::json!({
                    "set": set.name,
                    "last_success_ms": state.last_success_at,
                    "last_run_ms": state.last_run_at,
                    "age_seconds": age.map(|age| age / 1000),
                    "late": late,
                    "version": if state.head.is_empty() { None } else { Some(&state.head) },
                    "problem": state.last_problem,
                    "errors": state.last_errors,
                    "storage": reading.to_string(),
                    "readers": threads.readers,
                });
                if let Some(changes) = &state.last_changes {
                    document["changes"] = changes::json(changes);
                }
                document
            })
            .collect();
        let destination = account.map(|account| account.destination.to_string());
        say!("{}", serde_json::json!({ "destination": destination, "sets": sets, "cache_bytes": cached }));
    } else {
        match account {
            Some(account) => say!("destination {}  account {}", account.destination, account.name),
            None => say!("no destination: say `backstore login`"),
        }
        if cached > 0 {
            say!("{} of what is there are kept on this disk", text::size(cached));
        }
        if sets.is_empty() {
            say!("no backup sets: say `backstore set add NAME FOLDER…`");
        }
        for (set, state, age, late, reading, threads) in sets {
            let when = age
                .map_or_else(|| "never backed up".to_owned(), |age| format!("backed up {}", text::ago(age)));
            say!("{}  {when}{}", set.name, if late { "  TOO OLD" } else { "" });
            if let Some(changes) = &state.last_changes {
                say!("  last backup: {}", changes::text(changes));
            }
            let readers = text::plural(threads.readers as u64, "thread", "threads");
            say!("  read by {readers}, from {reading}");
            if let Some(problem) = state.last_problem {
                say!("  last attempt: {problem}");
            }
            if state.last_errors > 0 {
                say!(
                    "  {}",
                    text::plural(state.last_errors, "file was not read whole", "files were not read whole")
                );
            }
        }
    }
    Ok(if is_late { Exit::Failed } else { Exit::Complete })
}
