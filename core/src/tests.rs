//! What the core must read, and what it must leave.

use crate::audit::{scan, Texts};
use crate::columns::{Codes, Column, Table};
use crate::container::unwrap;
use crate::json::{compact, Cursor};
use crate::lines::split;
use crate::needles::Needles;
use crate::time::micros;

const EVENT: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"a1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods?dryRun=All\u0026x=1","verb":"create","user":{"username":"eve","groups":["g"],"extra":{"k":["v"]}},"sourceIPs":["192.0.2.7"],"userAgent":"a\u003cb","objectRef":{"resource":"pods","namespace":"shop","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":201},"requestObject":{"dryRun":["All"],"spec":{"replicas":3}},"responseObject":{"kind":"Pod","metadata":{"name":"web-1","uid":"u","resourceVersion":"7","ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"n1"},{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web","uid":"r1","controller":true}]}},"requestReceivedTimestamp":"2026-11-23T05:04:18.000000Z","stageTimestamp":"2026-11-23T05:04:18.056187Z","annotations":{"authorization.k8s.io/decision":"allow"}}"#;

fn read(texts: &[&str]) -> [Table; 3] {
    let mut offsets = vec![0];
    for text in texts {
        offsets.push(offsets.last().unwrap() + text.len() as i64);
    }
    one(texts.concat().as_bytes(), &offsets, vec![b"secrets"])
}

fn one(data: &[u8], offsets: &[i64], refused: Vec<&[u8]>) -> [Table; 3] {
    scan(&[Texts { data, offsets }], &vec![1; offsets.len()], refused)
}

fn kept(text: &str) -> bool {
    read(&[text])[0].rows == 1
}

fn column<'t>(table: &'t Table, name: &str) -> &'t Column {
    &table.columns.iter().find(|(n, _)| *n == name).unwrap().1
}

fn texts(table: &Table, name: &str) -> String {
    match column(table, name) {
        Column::Text(t) => String::from_utf8(t.data.clone()).unwrap(),
        Column::Codes(c) => String::from_utf8(c.values.data.clone()).unwrap(),
        Column::Long(l) => format!("{:?}", l.values),
    }
}

#[test]
fn an_event_gives_its_columns() {
    let [rows, items, owners] = read(&[EVENT]);
    for (name, wanted) in [
        ("auditID", "a1"),
        ("requestURI", "/api/v1/namespaces/shop/pods?dryRun=All&x=1"),
        ("uri", "/?dryRun=A"),
        ("userAgent", "a<b"),
        ("user", r#"{"username":"eve","groups":["g"],"extra":{"k":["v"]}}"#),
        ("object.name", "web-1"),
        ("owner.kind", "ReplicaSet"),
        ("owner.uid", "r1"),
        ("request.replicas", "[3]"),
        ("dryRun", "1"),
        ("staged", "[1795410258056187]"),
    ] {
        assert_eq!(texts(&rows, name), wanted, "{name}");
    }
    assert_eq!((rows.rows, items.rows, owners.rows), (1, 0, 2));
}

#[test]
fn list_items_and_rows_of_tables_are_objects() {
    let list = r#"{"kind":"PodList","items":[{"metadata":{"name":"a","namespace":"s"}},{"metadata":{"name":null}},{"metadata":{"name":"b"}}]}"#;
    let table = r#"{"kind":"Table","rows":[{"cells":[1],"object":{"metadata":{"name":"c"}}},{"object":null}]}"#;
    for (body, names) in [(list, "ab"), (table, "c")] {
        let at = EVENT.find(r#"{"kind":"Pod","#).unwrap();
        let end = EVENT.find(r#","requestReceived"#).unwrap();
        let [rows, items, _] = read(&[&format!("{}{body}{}", &EVENT[..at], &EVENT[end..])]);
        assert_eq!((rows.rows, texts(&items, "name").as_str()), (1, names));
    }
}

#[test]
fn a_text_that_is_left_leaves_nothing_behind() {
    let odd = EVENT.replace(r#""annotations":{"#, r#""annotations":{"x":"hidden","y":1,"#).replace("web-1", "other");
    let [rows, _, owners] = read(&[EVENT, &odd, EVENT]);
    assert_eq!((rows.rows, owners.rows), (2, 4));
    for (_, column) in &rows.columns {
        let data = match column {
            Column::Text(t) => &t.data,
            Column::Codes(c) => &c.values.data,
            Column::Long(_) => continue,
        };
        let text = String::from_utf8_lossy(data);
        assert!(!text.contains("hidden") && !text.contains("other"));
    }
}

#[test]
fn what_is_not_plain_is_left() {
    assert!(kept(EVENT));
    assert!(kept(&format!("{EVENT}\n")));
    for (old, new) in [
        (r#""verb":"create""#, r#""verb":7"#),
        (r#""verb":"create""#, r#""verb":null"#),
        (r#""verb":"create","#, ""),
        (r#""verb":"create""#, r#""verb":"create","verb":"get""#),
        (r#""verb":"create""#, r#""v\u0065rb":"create""#),
        (r#""verb":"create""#, r#""verb":"create","news":1"#),
        ("audit.k8s.io/v1", "audit.k8s.io/v1beta1"),
        ("ResponseComplete", "Complete"),
        ("\"RequestResponse\"", "\"None\""),
        ("05:04:18.056187Z", "05:04:18.0561871Z"),
        ("2026-11-23T05:04:18.0", "2201-11-23T05:04:18.0"),
        ("\"/api", "\"api"),
        (r#""username":"eve""#, r#""username":"""#),
        (r#""username":"eve""#, r#""username":null"#),
        (r#""username":"eve""#, r#""username":"eve","Username":"eve""#),
        (r#"["v"]"#, r#"[null]"#),
        (r#"["v"]"#, r#""v""#),
        (r#"{"k":["v"]}"#, r#"{"k":["v"],"k":["w"]}"#),
        (r#""code":201"#, r#""code":"201""#),
        (r#""code":201"#, r#""code":201.0"#),
        (r#""resource":"pods","#, ""),
        (r#""resource":"pods""#, r#""resource":"secrets""#),
        (r#""apiVersion":"v1"},"resp"#, r#""apiVersion":"g/v1"},"resp"#),
        (r#""replicas":3"#, r#""replicas":"3""#),
        (r#""replicas":3"#, r#""replicas":3,"replicas":4"#),
        (r#""dryRun":["All"]"#, r#""dryRun":"All""#),
        (r#""name":"web-1""#, r#""name":1"#),
        (r#"{"dryRun":["All"],"spec":{"replicas":3}}"#, r#""text""#),
        (r#"{"dryRun":["All"],"spec":{"replicas":3}}"#, "null"),
        ("x=1", "dryRun=None"),
        (r#"{"authorization"#, r#"{"a":"\ud800","authorization"#),
        (r#"{"authorization"#, r#"{"a":"\u0000","authorization"#),
        (r#"{"authorization"#, "{\"a\":\"\u{1}\",\"authorization"),
    ] {
        assert!(EVENT.contains(old), "{old}");
        assert!(!kept(&EVENT.replace(old, new)), "{new}");
    }
    for end in [1, 10, EVENT.len() / 2, EVENT.len() - 1] {
        assert!(!kept(&EVENT[..end]));
    }
    assert!(!kept(&format!("{EVENT}{EVENT}")) && !kept(&format!("{EVENT}x")) && !kept(""));
    let no_ref = EVENT.replace(r#""objectRef":{"resource":"pods","namespace":"shop","apiVersion":"v1"},"#, "");
    assert!(!kept(&no_ref) && kept(&no_ref.replace("/api/v1/namespaces/shop/pods", "/healthz")));
}

#[test]
fn texts_are_numbered_through_and_only_those_that_are_wanted_are_read() {
    let (end, twice) = (EVENT.len() as i64, format!("{EVENT}{EVENT}"));
    let pieces = [
        Texts { data: twice.as_bytes(), offsets: &[0, end, 2 * end] },
        Texts { data: b"", offsets: &[] },
        Texts { data: EVENT.as_bytes(), offsets: &[0, end] },
    ];
    for (wanted, numbers) in [(&[1, 1, 1][..], "[0, 1, 2]"), (&[0, 1, 1], "[1, 2]"), (&[1, 0], "[0]"), (&[], "[]")] {
        assert_eq!(texts(&scan(&pieces, wanted, vec![])[0], "row"), numbers);
    }
}

#[test]
fn bytes_that_are_no_utf_8_are_left() {
    let mut bytes = EVENT.as_bytes().to_vec();
    let at = EVENT.find("192.0").unwrap();
    bytes[at] = 0xff;
    assert_eq!(one(&bytes, &[0, bytes.len() as i64], vec![])[0].rows, 0);
}

#[test]
fn offsets_that_lead_nowhere_are_passed_over() {
    for offsets in [&[-5, 3][..], &[0, 1 << 40], &[9, 3], &[i64::MAX, i64::MIN], &[]] {
        assert_eq!(one(EVENT.as_bytes(), offsets, vec![])[0].rows, 0);
    }
}

#[test]
fn json_is_checked_in_full() {
    let good = [
        "{}",
        "[]",
        "0",
        "-0.5e+7",
        r#""""#,
        r#"{"a":[1,{"b":null}],"c":[true,false]}"#,
        " [ 1 , 2 ] ",
        r#""\"\\\/\b\f\n\r\t\u00e9é""#,
    ];
    let bad = [
        "",
        "{",
        "[1",
        "{]",
        "[}",
        "[1,]",
        "{,}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{a:1}"#,
        "01",
        "1.",
        ".5",
        "1e",
        "+1",
        "--1",
        "tru",
        "nul",
        "NaN",
        r#""a"#,
        "\"\n\"",
        r#""\x""#,
        r#""\u12g4""#,
        r#""\ud83d\ude00""#,
        "1 2",
        "1e999",
        "1]",
    ];
    let read = |text: &str| {
        let mut c = Cursor::new(text.as_bytes());
        c.space();
        c.value().is_ok() && c.end().is_ok()
    };
    good.iter().for_each(|text| assert!(read(text), "{text}"));
    bad.iter().for_each(|text| assert!(!read(text), "{text}"));
    assert!(read(&format!("{}{}", "[".repeat(127), "]".repeat(127))));
    assert!(!read(&"[".repeat(1_000_000)) && !read(&"{\"a\":".repeat(200_000)));
}

#[test]
fn white_space_goes_only_between_tokens() {
    assert_eq!(compact(b"{ \"a b\\\" \" :\n[ 1 ,\t2 ] }"), b"{\"a b\\\" \":[1,2]}");
}

#[test]
fn needles_are_found_wherever_they_stand() {
    let words = [&b"Secret\""[..], b" Secret", b"TokenRe", b".eyJ", b"rer "];
    let needles = Needles::new(words.into_iter());
    for length in 0..200 {
        for word in words {
            let mut text = vec![b'e'; length];
            assert_eq!(needles.next(&text, 0), length);
            text.extend_from_slice(word);
            text.extend_from_slice(&[b'r'; 70][..length % 70]);
            let found = needles.next(&text, 0);
            assert!((length..length + word.len()).contains(&found), "{length} {word:?} {found}");
        }
    }
}

#[test]
fn lines_are_split_only_when_all_are_plain() {
    let mut ends = [0; 4];
    assert_eq!(split(b"{\"a\":1}\n{\"a\":2}\n", b"{\"a\":", &mut ends), Some(2));
    assert_eq!(ends[..2], [8, 16]);
    assert_eq!(split(b"{\"a\":\"${X}x\"}\n{\"a\":\"}{\"}\n", b"{\"a\":", &mut ends), Some(2));
    for odd in [
        &b"{\"a\":1}\n{\"b\":2}\n"[..],
        b"{\"a\":1}\n{\"a\":2}",
        b"{\"a\":1}\n\n",
        b"{\"a\":1}\r\n",
        b"{\"a\":{\"a\":2}}\n",
        b"{\"a\":\"\xff\"}\n",
        b"{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n{\"a\":1}\n",
        b"{\"a\":1}{\"b\":1}\n",
        b"{\"a\":1} \t I0101{}\n",
    ] {
        assert_eq!(split(odd, b"{\"a\":", &mut ends), None);
    }
}

#[test]
fn container_lines_are_unwrapped_only_when_all_are_whole_records() {
    let log = b"2026-11-23T12:00:00.1Z stdout F {\"a\":1}\n2026-11-23T12:00:01.123456789+01:00 stderr P {\"a\"\n\
        2026-11-23T12:00:02.1Z stderr P :2\n2026-11-23T12:00:03.1Z stderr F }\n2026-11-23T12:00:04.1Z stdout F {\"a\":3}\n";
    let [rows, whole] = unwrap(log, b"{\"a\"").unwrap();
    for (name, wanted) in [
        ("time", "2026-11-23T12:00:00.1Z2026-11-23T12:00:01.123456789+01:002026-11-23T12:00:04.1Z"),
        ("start", "[0, 40, 159]"),
        ("line", "[0, 1, 4]"),
        ("end", "[8, 16, 24]"),
    ] {
        assert_eq!(texts(&rows, name), wanted);
    }
    assert_eq!((texts(&whole, "text").as_str(), texts(&whole, "lines").as_str()), ("{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n", "[5]"));
    let log = br#"{"log":"{\"a\":1}\n","stream":"stdout","time":"2026-11-23T12:00:00Z"}
{"log":"{\"a\":\"\u003c","stream":"stderr","time":"2026-11-23T12:00:01.5Z"}
{"log":"2\"}\n","stream":"stderr","time":"2026-11-23T12:00:02Z"}
"#;
    let [rows, whole] = unwrap(log, b"{\"a\"").unwrap();
    assert_eq!(
        (texts(&rows, "time").as_str(), texts(&rows, "start").as_str()),
        ("2026-11-23T12:00:00Z2026-11-23T12:00:01.5Z", "[0, 70]")
    );
    assert_eq!(texts(&whole, "text"), "{\"a\":1}\n{\"a\":\"<2\"}\n");
    let good = r#"{"log":"{\"a\":1}\n","stream":"stdout","time":"2026-11-23T12:00:00Z"}"#;
    for (old, new) in [
        ("stdout", "other"),
        ("\\n\"", "\""),
        ("\\n\"", "\\n\\n\""),
        ("1}", "1}\\ud83d"),
        (",\"time\":\"2026-11-23T12:00:00Z\"", ""),
        ("\"2026-11-23T12:00:00Z\"", "1"),
        ("12:00:00Z", ""),
        ("12:00:00Z", "12:00:00Z "),
        ("}\n", ",\"attrs\":{}}\n"),
        ("\"log\"", "\"Log\""),
    ] {
        assert!(good.contains(old) || new.contains("attrs"), "{old}");
        assert!(unwrap(format!("{good}\n{good}\n").as_bytes(), b"{\"a\"").is_some());
        assert!(
            unwrap(format!("{good}\n{}", format!("{good}\n").replacen(old, new, 1)).as_bytes(), b"{\"a\"").is_none(),
            "{new}"
        );
    }
    let good = "2026-11-23T12:00:00.1Z stdout F {\"a\":1}\n";
    for odd in [
        "2026-11-23T12:00:00.1Z stdout F {\"a\":1}",
        "2026-11-23T12:00:00.1Z stdout F {\"b\":1}\n",
        "2026-11-23T12:00:00.1Z stdout F {\"a\":1} \n",
        "2026-11-23T12:00:00.1Z stdout F {\"a\":1}\r\n",
        "2026-11-23T12:00:00.1Z stdout P {\"a\":1}\n",
        "2026-11-23T12:00:00.1Z stdout P {\"a\"\n2026-11-23T12:00:00.1Z stderr F :1}\n",
        "2026-11-23T12:00:00.1Z stdlog F {\"a\":1}\n",
        "2026-11-23T12:00:00.1Z stdout X {\"a\":1}\n",
        "2026-11-23T12:00:00.1Z stdout F:x {\"a\":1}\n",
        "2026-11-23T12:00:00.1Z stdout F\n",
        "2026-11-23T12:00:00.Z stdout F {\"a\":1}\n",
        "2026-11-23T12:00:00 stdout F {\"a\":1}\n",
        "2026-11-23T12:00:00.1+1:00 stdout F {\"a\":1}\n",
        "{\"a\":1}\n",
        "\n",
    ] {
        assert!(unwrap(format!("{good}{good}").as_bytes(), b"{\"a\"").is_some());
        assert!(unwrap(format!("{good}{odd}").as_bytes(), b"{\"a\"").is_none(), "{odd}");
    }
    for end in 0..log.len() {
        drop(unwrap(&log[..end], b"{\"a\""));
    }
}

#[test]
fn times_are_of_the_calendar() {
    assert_eq!(micros(b"1970-01-01T00:00:00Z"), Some(0));
    assert_eq!(micros(b"2000-02-29T23:59:59.1Z"), Some(951_868_799_100_000));
    assert_eq!(micros(b"2199-12-31T23:59:59.999999Z"), Some(7_258_118_399_999_999));
    for odd in [
        "1900-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-04-30T24:00:00Z",
        "2026-04-30T00:00:60Z",
        "2026-04-30 00:00:00Z",
        "2026-04-30T00:00:00",
        "2026-04-30T00:00:00.Z",
        "2026-04-30T00:00:00.1234567Z",
        "2026-04-30T00:00:00+00:00",
        "1969-12-31T23:59:59Z",
        "Z",
        "",
        "2026-04-30T00:00:0éZ",
    ] {
        assert_eq!(micros(odd.as_bytes()), None, "{odd}");
    }
}

#[test]
fn codes_stand_for_distinct_values() {
    let mut codes = Codes::new();
    for i in 0..10_000u32 {
        let value = (i % 1000).to_string();
        let found = codes.find(value.as_bytes());
        codes.push(Some(value.as_bytes()), found);
    }
    codes.push(None, Ok(-1));
    assert_eq!((codes.codes[0], codes.codes[1000], codes.codes[10_000], codes.values.valid.rows), (0, 0, -1, 1000));
}

/// Whatever is done to a line, it is read or left, and never more is made of it than of a line.
#[test]
fn mutated_lines_panic_nowhere() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) as usize % below
    };
    let rounds = std::env::var("CORE_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let bits: [&[u8]; 12] = [b"\"", b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\\u00", b"null", b"\xc3", b"\n"];
    for _ in 0..rounds {
        let mut bytes = EVENT.as_bytes().to_vec();
        for _ in 0..=random(3) {
            let at = random(bytes.len().max(1));
            if bytes.is_empty() {
                break;
            }
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => drop(bytes.drain(at..(at + random(40)).min(bytes.len()))),
                2 => drop(bytes.splice(at..at, bits[random(bits.len())].iter().copied())),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let [rows, ..] = one(&bytes, &[0, bytes.len() as i64], vec![b"secrets"]);
        assert!(rows.rows <= 1);
    }
}
