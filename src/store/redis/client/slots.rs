//! The slots of a cluster: in which one a key lies, and which server has it.

use redis::Value;

use super::address::Address;

/// The slots of a cluster are 0 to 16383.
const SLOTS: u16 = 16_384;

/// The slot of a key: of the part between the first `{` and the next `}` if that is not empty, otherwise of all of it.
pub(super) fn slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key).unwrap_or(key)) % SLOTS
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let start = key.iter().position(|byte| *byte == b'{')? + 1;
    let rest = key.get(start..)?;
    let length = rest.iter().position(|byte| *byte == b'}')?;
    rest.get(..length).filter(|tag| !tag.is_empty())
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    let shifted = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| shifted(crc)))
}

/// Which primary has which slots.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SlotMap {
    ranges: Vec<Range>,
}

#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    primary: Address,
}

impl SlotMap {
    /// Reads the reply of `CLUSTER SLOTS`: ranges with their servers, the primary first. `None` if it is malformed.
    pub(super) fn read(reply: &Value, said_by: &Address) -> Option<Self> {
        let Value::Array(ranges) = reply else { return None };
        let ranges: Vec<Range> = ranges.iter().map(|range| read_range(range, said_by)).collect::<Option<_>>()?;
        (!ranges.is_empty()).then_some(Self { ranges })
    }

    /// The primary that has a slot, if one has it.
    pub(super) fn primary(&self, slot: u16) -> Option<&Address> {
        let range = self.ranges.iter().find(|range| (range.first..=range.last).contains(&slot));
        range.map(|range| &range.primary)
    }

    pub(super) fn primaries(&self) -> impl Iterator<Item = &Address> {
        self.ranges.iter().map(|range| &range.primary)
    }
}

fn read_range(range: &Value, said_by: &Address) -> Option<Range> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = parts.as_slice() else { return None };
    let [host, Value::Int(port), ..] = primary.as_slice() else { return None };
    let host = match host {
        Value::Nil => "",
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        _ => return None,
    };
    let primary = Address::new(host, u16::try_from(*port).ok()?, said_by);
    Some(Range { first: u16::try_from(*first).ok()?, last: u16::try_from(*last).ok()?, primary })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-16/XMODEM, and slots that a Redis cluster reports with `CLUSTER KEYSLOT`.
    #[test]
    fn a_key_lies_in_the_slot_of_its_hash_tag() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, expected) in [
            ("foo", 12182),
            ("{user1000}.following", 3443),
            ("{user1000}.followers", 3443),
            ("user1000", 3443),
            ("", 0),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS, "an empty tag is none");
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b"foo{bar"), crc16(b"foo{bar") % SLOTS);
    }

    fn server(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())])
    }

    fn range(first: i64, last: i64, servers: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(first), Value::Int(last)], servers].concat())
    }

    fn said_by() -> Address {
        Address { host: "redis.example".to_owned(), port: 6379 }
    }

    #[test]
    fn the_first_server_of_a_range_has_its_slots() {
        let host = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let reply = Value::Array(vec![
            range(0, 8000, vec![server(host("10.0.0.1"), 7000), server(host("10.0.0.2"), 7000)]),
            range(8002, 16383, vec![server(Value::Nil, 7001)]),
        ]);
        let map = SlotMap::read(&reply, &said_by()).unwrap();
        let port = |slot| map.primary(slot).map(|primary| primary.to_string());
        assert_eq!(port(0).as_deref(), Some("10.0.0.1:7000"));
        assert_eq!(port(8000).as_deref(), Some("10.0.0.1:7000"));
        assert_eq!(port(8001), None, "no server has it");
        assert_eq!(port(16383).as_deref(), Some("redis.example:7001"), "where the host is unknown");
    }

    #[test]
    fn a_malformed_reply_is_no_map() {
        let malformed = [
            Value::Nil,
            Value::Array(vec![]),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(0, 1, vec![])]),
            Value::Array(vec![range(0, 70_000, vec![server(Value::Nil, 1)])]),
            Value::Array(vec![range(0, 1, vec![server(Value::Nil, 70_000)])]),
            Value::Array(vec![range(0, 1, vec![server(Value::Int(1), 1)])]),
        ];
        for reply in malformed {
            assert_eq!(SlotMap::read(&reply, &said_by()), None, "{reply:?}");
        }
    }
}
