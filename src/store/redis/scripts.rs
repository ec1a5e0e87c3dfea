//! The scripts that write sessions (contract 15.5). Each compares inside Redis, and its keys lie in one slot. It may
//! run twice, with the effect and the result of running once: the client sends it again if its reply is lost.

use super::client::Script;

/// Stores the record of a sign-in where there is none and its session has not ended. Without permission to create one,
/// it only says whether there is one: a callback that is repeated after the session has expired must not bring it back.
/// 1: there is one now, 0: none. Keys: record, mark. Arguments: generation, session, metadata, life in ms, permission
/// to create (1, 0).
pub(super) static CREATE: Script = Script::new(
    "create",
    "if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
    if ARGV[5] == '0' or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
    redis.call('HSET', KEYS[1], 'g', ARGV[1], 'v', ARGV[2], 'm', ARGV[3])
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
    return 1",
);

/// The record of a session that was moved here from its cookie, as of `HMGET`; false if it was not moved yet. A key of
/// another type is a record that does not open (contract 15.8).
/// Keys: record, mark.
pub(super) static MOVED: Script = Script::new(
    "moved",
    "if redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then return false end
    local fields = redis.pcall('HMGET', KEYS[1], 'g', 'v', 'm')
    if fields.err and string.sub(fields.err, 1, 9) == 'WRONGTYPE' then return {'', '', ''} end
    return fields",
);

/// Moves a session here from its cookie, once (contract 15.17). Returns the record that counts, as of `HMGET`.
/// Keys: record, mark. Arguments: generation, session, metadata, life in ms, life of the mark in ms.
pub(super) static MOVE: Script = Script::new(
    "move",
    "if redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then
        redis.call('SET', KEYS[2], '1', 'PX', ARGV[5])
        redis.call('HSET', KEYS[1], 'g', ARGV[1], 'v', ARGV[2], 'm', ARGV[3])
        redis.call('PEXPIRE', KEYS[1], ARGV[4])
    end
    local fields = redis.pcall('HMGET', KEYS[1], 'g', 'v', 'm')
    if fields.err and string.sub(fields.err, 1, 9) == 'WRONGTYPE' then return {'', '', ''} end
    return fields",
);

/// Stores activity, if the metadata is still that which was read. 1: stored, 0: there is no record, -1: other metadata.
/// Keys: record. Arguments: metadata that was read, new metadata, life in ms.
pub(super) static TOUCH: Script = Script::new(
    "touch",
    "local stored = redis.call('HGET', KEYS[1], 'm')
    if not stored then return 0 end
    if stored ~= ARGV[1] and stored ~= ARGV[2] then return -1 end
    redis.call('HSET', KEYS[1], 'm', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return 1",
);

/// Stores the next generation of a session, unless another instance holds the lock, and gives the lock back. 1: stored,
/// 0: there is no record, -1: another generation is there, or another instance is about to write one.
/// Keys: record, lock. Arguments: generation that was read, the next one, session, holder of the lock.
pub(super) static SAVE: Script = Script::new(
    "save",
    "local stored = redis.call('HMGET', KEYS[1], 'g', 'v')
    if not stored[1] then return 0 end
    if stored[1] == ARGV[2] and stored[2] == ARGV[3] then return 1 end
    if stored[1] ~= ARGV[1] then return -1 end
    local holder = redis.call('GET', KEYS[2])
    if holder and holder ~= ARGV[4] then return -1 end
    redis.call('HSET', KEYS[1], 'g', ARGV[2], 'v', ARGV[3])
    if holder then redis.call('DEL', KEYS[2]) end
    return 1",
);

/// Takes the lock. 1: taken, 0: another one holds it, -1: there is no record, -2: another generation is there.
/// Keys: lock, record. Arguments: holder, life in ms, generation.
pub(super) static LOCK: Script = Script::new(
    "lock",
    "local generation = redis.call('HGET', KEYS[2], 'g')
    if not generation then return -1 end
    if generation ~= ARGV[3] then return -2 end
    if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
    if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
    return 0",
);

/// Gives the lock back. Keys: lock. Arguments: holder.
pub(super) static UNLOCK: Script = Script::new(
    "unlock",
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
    return 0",
);

/// Deletes a session. The mark keeps its record from being written again, be it by a sign-in or by the move of a
/// cookie, and says why the session ended; a reason that is greater counts. The deletion comes first: a server without
/// memory left then accepts the mark, too. Keys: record, mark. Arguments: life of the mark in ms, reason.
pub(super) static END: Script = Script::new(
    "end",
    "redis.call('DEL', KEYS[1])
    local mark = redis.call('GET', KEYS[2])
    if not mark or mark < ARGV[2] then redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[1]) end
    return 1",
);

/// Adds a member to an index and removes those that have expired. The index expires with its last member.
/// Keys: index. Arguments: member, its expiry in Unix seconds, the current time, tolerance for clocks in seconds.
pub(super) static ADD_TO_INDEX: Script = Script::new(
    "index",
    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
    redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
    local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
    local life = tonumber(last[2]) - tonumber(ARGV[3]) + tonumber(ARGV[4])
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', life * 1000))
    return 1",
);
