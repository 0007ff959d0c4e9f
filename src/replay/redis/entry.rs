//! What stands on the server: names of keys, the text of a use, and the scripts that change it.
//!
//! A script runs whole or not at all, and nothing runs in between. Of tokens, keys and asks there are
//! hashes only.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use redis::Value;

use super::super::{Mark, Slot, Use, hash};
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

    fn of(&self, slot: &Slot) -> String {
        let parts = [&slot.issuer, &slot.token, &slot.credential];
        let name = hash(&parts.map(String::as_bytes));
        format!("{}used:{}", self.prefix, BASE64URL_NOPAD.encode(&name))
    }
}

/// What came of asking for a use.
#[derive(Debug)]
pub(super) enum Answer {
    Taken,
    Held(Box<Use>),
    /// The token is older than what the store knows.
    Early,
    /// What is there is not ours.
    Foreign,
}

/// The script that takes a use.
pub(super) fn take(names: &Names, run: &str, wanted: &Use) -> redis::Cmd {
    let left = wanted.usable_until.since(wanted.minted_at).max(0);
    // One second more, since our time has lost its fraction.
    let kept = left.saturating_add(1).saturating_add(MARGIN);
    let mut script = eval(TAKE, &[&names.of(&wanted.slot), &names.run()]);
    script
        .arg(run)
        .arg(wanted.minted_at.unix())
        .arg(text(wanted))
        .arg(kept)
        .arg(key_text(wanted.key.as_ref()))
        .arg(HEXLOWER.encode(&wanted.ask))
        .arg(wanted.issued_at.unix())
        .arg(HEXLOWER.encode(&wanted.mark));
    script
}

/// The script that looks which run is on record, and begins the record anew if it is another.
pub(super) fn look(names: &Names, run: &str, now: Timestamp, anew: bool) -> redis::Cmd {
    let mut script = eval(LOOK, &[&names.run()]);
    script
        .arg(run)
        .arg(now.unix())
        .arg(if anew { "anew" } else { "look" });
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
    pub(super) fn of_slot(names: &Names, slot: &Slot) -> Option<Self> {
        Some(Self {
            key: names.of(slot),
            run: names.run(),
            mark: slot.taken_by?,
        })
    }

    pub(super) fn script(&self, run: &str) -> redis::Cmd {
        let mut script = eval(GIVE_BACK, &[&self.key, &self.run]);
        script.arg(HEXLOWER.encode(&self.mark)).arg(run);
        script
    }
}

/// Reads what [`take`] answered. Anything else than our own words is foreign.
pub(super) fn answer(value: &Value, wanted: &Use) -> Answer {
    let Value::Array(parts) = value else {
        return Answer::Foreign;
    };
    let texts: Option<Vec<&str>> = parts.iter().map(as_text).collect();
    match texts.as_deref() {
        Some(["taken"]) => Answer::Taken,
        Some(["early"]) => Answer::Early,
        Some(["held", held]) => {
            read(held, wanted).map_or(Answer::Foreign, |first| Answer::Held(Box::new(first)))
        }
        Some(_) | None => Answer::Foreign,
    }
}

pub(super) fn as_text(value: &Value) -> Option<&str> {
    if let Value::BulkString(bytes) = value {
        std::str::from_utf8(bytes).ok()
    } else {
        None
    }
}

/// A use as text: version, state, mark, key, ask, times, request.
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
    ] = parts.as_slice()
    else {
        return None;
    };
    if version != VERSION
        || !matches!(state, "u" | "r")
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

/// Takes a use, or says who has it. A repeat under the same key and ask is noted, since it may make
/// what the first try did not: then the use is never given back.
const TAKE: &str = r"
local now = tonumber(ARGV[2])
local since
local record = redis.call('GET', KEYS[2])
if record then
  local run, time = string.match(record, '^hp1 (%w+) (%-?%d+)$')
  if not run or tonumber(time) > now + 60 then return {'foreign'} end
  if run == ARGV[1] then since = tonumber(time) end
end
if not since then
  since = now
  redis.call('SET', KEYS[2], 'hp1 ' .. ARGV[1] .. ' ' .. ARGV[2])
end
local held = redis.call('GET', KEYS[1])
if not held then
  if tonumber(ARGV[7]) <= since then return {'early'} end
  redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
  return {'taken'}
end
if #held > 512 then return {'foreign'} end
local state, mark, key, ask, ends = string.match(held, '^hp1 ([ur]) (%x+) (%S+) (%x+) %-?%d+ (%-?%d+) ')
if not state then return {'foreign'} end
if mark == ARGV[8] then return {'taken'} end
if state == 'u' and key ~= '-' and key == ARGV[5] and ask == ARGV[6] and now < tonumber(ends) then
  redis.call('SETRANGE', KEYS[1], 4, 'r')
end
return {'held', held}
";

/// Notes the run of the server, with the time it was first seen in. Says `kept` when it is known.
const LOOK: &str = r"
local record = redis.call('GET', KEYS[1])
if record then
  local run, time = string.match(record, '^hp1 (%w+) (%-?%d+)$')
  if not run or tonumber(time) > tonumber(ARGV[2]) + 60 then return 'foreign' end
  if run == ARGV[1] and ARGV[3] == 'look' then return 'kept' end
end
redis.call('SET', KEYS[1], 'hp1 ' .. ARGV[1] .. ' ' .. ARGV[2])
return 'began'
";

/// Gives a use back to nobody but who took it, and only while the server is in the run that saw it.
const GIVE_BACK: &str = r"
local record = redis.call('GET', KEYS[2])
if not record or string.match(record, '^hp1 (%w+) ') ~= ARGV[2] then return 0 end
local held = redis.call('GET', KEYS[1])
local mine = 'hp1 u ' .. ARGV[1] .. ' '
if held and string.sub(held, 1, #mine) == mine then return redis.call('DEL', KEYS[1]) end
return 0
";
