//! The data on the server: key names, the encoding of a use, and the Lua scripts.
//!
//! A script runs whole or not at all, and nothing runs in between. Of tokens, keys and asks there are
//! hashes only.

use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use redis::Value;

use super::super::{Mark, Use, UseKey, hash};
use crate::clock::Timestamp;

/// Names of keys under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// The key of the record of the server's run.
    pub(super) fn run(&self) -> String {
        format!("{}run", self.prefix)
    }

    fn of(&self, slot: &UseKey) -> String {
        let parts = [&slot.issuer, &slot.token, &slot.credential];
        let name = hash(&parts.map(String::as_bytes));
        let kind = if slot.is_window { "window" } else { "used" };
        format!("{}{kind}:{}", self.prefix, BASE64URL_NOPAD.encode(&name))
    }
}

/// What came of asking for a use.
#[derive(Debug)]
pub(super) enum ScriptResult {
    Taken,
    Held(Box<Use>),
    /// The window that the token joined is closed.
    Closed,
    /// The token is older than what the store knows.
    Early,
    /// What is there is not ours.
    Foreign,
}

/// The script that takes a use; [`answer`] reads what it says.
pub(super) fn take(names: &Names, wanted: &Use) -> redis::Cmd {
    let left = wanted.usable_until.since(wanted.minted_at).max(0);
    // One second more, since our time has lost its fraction.
    let kept = left.saturating_add(1).saturating_add(MARGIN);
    let (run, place) = (names.run(), names.of(&wanted.slot));
    let mut script = match &wanted.joined_by {
        None => eval(TAKE, &[&run, &place]),
        Some(token) => eval(JOIN, &[&run, &place, &names.of(token)]),
    };
    script
        .arg(wanted.minted_at.unix())
        .arg(text(wanted))
        .arg(kept)
        .arg(key_text(wanted.key.as_ref()))
        .arg(HEXLOWER.encode(&wanted.ask))
        .arg(wanted.issued_at.unix())
        .arg(HEXLOWER.encode(&wanted.mark));
    if let Some(mark) = wanted.joined_by.as_ref().and_then(|token| token.taken_by) {
        script.arg(HEXLOWER.encode(&mark));
    }
    script
}

/// The script that looks up the server's run, and begins a new record if it is another one, or if `begins` is set.
pub(super) fn look(names: &Names, now: Timestamp, begins: bool) -> redis::Cmd {
    let mut script = eval(LOOK, &[&names.run()]);
    script
        .arg(now.unix())
        .arg(if begins { "begin" } else { "look" });
    script
}

/// A use that made nothing, to be given back.
#[derive(Clone, Debug)]
pub(super) struct GiveBack {
    key: String,
    run: String,
    mark: Mark,
}

impl GiveBack {
    pub(super) fn of(names: &Names, wanted: &Use) -> Self {
        Self {
            key: names.of(&wanted.slot),
            run: names.run(),
            mark: wanted.mark,
        }
    }

    /// Nothing for a slot that was only repeated.
    pub(super) fn of_slot(names: &Names, slot: &UseKey) -> Option<Self> {
        Some(Self {
            key: names.of(slot),
            run: names.run(),
            mark: slot.taken_by?,
        })
    }

    pub(super) fn script(&self) -> redis::Cmd {
        let mut script = eval(GIVE_BACK, &[&self.run, &self.key]);
        // It compares no time: whatever the record says is not too late.
        script.arg(i64::MAX).arg(HEXLOWER.encode(&self.mark));
        script
    }
}

/// Reads the answer of any script: the server's time, and a word or a use.
pub(super) fn timed(answer: &Value) -> Option<(Duration, String)> {
    let Value::Array(parts) = answer else {
        return None;
    };
    let [Value::Array(time), said] = parts.as_slice() else {
        return None;
    };
    let [seconds, micros] = time.as_slice() else {
        return None;
    };
    let number = |value| as_text(value)?.parse::<u64>().ok();
    let time = Duration::from_secs(number(seconds)?);
    let micros = Duration::from_micros(number(micros)?);
    Some((time.saturating_add(micros), as_text(said)?.to_owned()))
}

/// Reads what [`take`] said.
pub(super) fn answer(said: &str, wanted: &Use) -> ScriptResult {
    match said {
        "taken" => ScriptResult::Taken,
        "closed" => ScriptResult::Closed,
        "early" => ScriptResult::Early,
        held => read(held, wanted).map_or(ScriptResult::Foreign, |first| {
            ScriptResult::Held(Box::new(first))
        }),
    }
}

pub(super) fn as_text(value: &Value) -> Option<&str> {
    if let Value::BulkString(bytes) = value {
        std::str::from_utf8(bytes).ok()
    } else {
        None
    }
}

/// A use as text: version, state, mark, key, ask, times, request. [`JOIN`] adds the window that a token
/// joined.
fn text(of: &Use) -> String {
    format!(
        "{VERSION} u {} {} {} {} {} {} {}",
        HEXLOWER.encode(&of.mark),
        key_text(of.key.as_ref()),
        HEXLOWER.encode(&of.ask),
        of.minted_at.unix(),
        of.expires_at.unix(),
        of.usable_until.unix(),
        of.request_id,
    )
}

fn key_text(key: Option<&[u8; 32]>) -> String {
    key.map_or_else(|| "-".to_owned(), |key| HEXLOWER.encode(key))
}

/// The use that stands there, if a broker wrote it. Its times decide how long a repeated credential
/// lives, so they must be such as this ask gives.
fn read(text: &str, wanted: &Use) -> Option<Use> {
    let parts: Vec<&str> = text.split(' ').collect();
    let &[
        version,
        state,
        mark,
        key,
        ask,
        minted_at,
        expires_at,
        until,
        request_id,
        ref joined @ ..,
    ] = parts.as_slice()
    else {
        return None;
    };
    if version != VERSION
        || !matches!(state, "u" | "r")
        || joined.len() > 1
        || !joined.iter().all(|mark| bytes::<16>(mark).is_some())
        || request_id.len() > LONGEST_ID
        || !request_id.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return None;
    }
    let time = |text: &str| text.parse().ok().map(Timestamp::from_unix);
    let first = Use {
        slot: wanted.slot.clone(),
        mark: bytes(mark)?,
        key: match key {
            "-" => None,
            key => Some(bytes(key)?),
        },
        ask: bytes(ask)?,
        minted_at: time(minted_at)?,
        expires_at: time(expires_at)?,
        usable_until: time(until)?,
        issued_at: wanted.issued_at,
        is_critical: wanted.is_critical,
        request_id: request_id.to_owned(),
        joined_by: None,
    };
    let life = |of: &Use| of.expires_at.since(of.minted_at);
    let is_same_ask = first.ask == wanted.ask;
    let fits = first.minted_at <= wanted.minted_at.plus(SKEW)
        && (!is_same_ask || life(&first) == life(wanted));
    fits.then_some(first)
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

fn eval(script: &str, keys: &[&str]) -> redis::Cmd {
    let mut command = redis::cmd("EVAL");
    let script = [RECORD, script].concat();
    command.arg(script).arg(keys.len()).arg(keys);
    command
}

/// Seconds that a use is kept beyond its token: what either clock may step by.
pub(super) const MARGIN: i64 = 600;

/// Seconds that clocks of two replicas may differ by.
const SKEW: i64 = 60;

const VERSION: &str = "hp1";

/// Bytes of a request's id; ours have 26.
const LONGEST_ID: usize = 64;

/// The front of each script: reads the server's time and run, and the record of the run. A server that
/// evicted keys may have lost uses, so the number of evictions is part of the run.
const RECORD: &str = r"
local time = redis.call('TIME')
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  .. 'x' .. string.match(redis.call('INFO', 'stats'), 'evicted_keys:(%d+)')
local record = redis.call('GET', KEYS[1])
local since
if record then
  local seen, first = string.match(record, '^hp1 (%w+) (%-?%d+)$')
  if not seen or tonumber(first) > tonumber(ARGV[1]) + 60 then return {time, 'foreign'} end
  if seen == run then since = tonumber(first) end
end
local function begin()
  since = tonumber(ARGV[1])
  redis.call('SET', KEYS[1], 'hp1 ' .. run .. ' ' .. ARGV[1])
end
";

/// Takes a use, or returns the one that is there. A repeat under the same key and ask is marked `r`:
/// it may make what the first request did not, so the use is never given back.
const TAKE: &str = r"
if not since then begin() end
local held = redis.call('GET', KEYS[2])
if not held then
  if tonumber(ARGV[6]) <= since then return {time, 'early'} end
  redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
  return {time, 'taken'}
end
if #held > 512 then return {time, 'foreign'} end
local state, mark, key, ask, ends = string.match(held, '^hp1 ([ur]) (%x+) (%S+) (%x+) %-?%d+ (%-?%d+) ')
if not state then return {time, 'foreign'} end
if mark == ARGV[7] then return {time, 'taken'} end
if state == 'u' and key ~= '-' and key == ARGV[4] and ask == ARGV[5] and tonumber(ARGV[1]) < tonumber(ends) then
  redis.call('SETRANGE', KEYS[2], 4, 'r')
end
return {time, held}
";

/// Opens a window, or returns the one that is open, and adds its mark to the use of the token that joins
/// it. A token that joined a window before gets that one or none. A window stays `u`, since any of its
/// requests may close it.
const JOIN: &str = r"
if not since then begin() end
local used = redis.call('GET', KEYS[3]) or ''
local own, joined = string.match(used, '^hp1 [ur] (%x+) %S+ %x+ %S+ %S+ %S+ %S+ ?(%x*)$')
if own ~= ARGV[8] then return {time, 'closed'} end
local held = redis.call('GET', KEYS[2])
local mark, ends
if held then
  if #held > 512 then return {time, 'foreign'} end
  mark, ends = string.match(held, '^hp1 u (%x+) %S+ %x+ %-?%d+ %-?%d+ (%-?%d+) ')
  if not mark then return {time, 'foreign'} end
  if mark ~= ARGV[7] and tonumber(ARGV[1]) >= tonumber(ends) then mark = nil end
end
if joined ~= '' and joined ~= mark then return {time, 'closed'} end
if not mark then
  mark = ARGV[7]
  redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
end
if joined == '' then redis.call('APPEND', KEYS[3], ' ' .. mark) end
if mark == ARGV[7] then return {time, 'taken'} end
return {time, held}
";

/// Notes the run of the server, with the time at which it was first seen.
const LOOK: &str = r"
if since and ARGV[2] == 'look' then return {time, 'kept'} end
begin()
return {time, 'began'}
";

/// Deletes a use if it has this mark and was not repeated, and the server is still in the run on record.
const GIVE_BACK: &str = r"
local held = redis.call('GET', KEYS[2])
local own = 'hp1 u ' .. ARGV[2] .. ' '
if since and held and string.sub(held, 1, #own) == own then redis.call('DEL', KEYS[2]) end
return {time, 'done'}
";
