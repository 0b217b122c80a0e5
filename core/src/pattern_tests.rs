use crate::automaton::Automaton;

fn found(pattern: &str, texts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; texts.len()];
    assert!(Automaton::new(pattern.as_bytes()).expect("a known expression").find(texts.iter().copied(), &mut out));
    out
}

#[test]
fn an_expression_is_found_where_re2_finds_it() {
    for (pattern, yes, no) in [
        ("abc", &["abc", "xxabcx", "aabc"][..], &["ab", "", "acb", "ABC"][..]),
        ("(?i)aBc", &["ABC", "xabcx"], &["ab"]),
        ("(?i)x(?-i:Ab)", &["XAb"], &["xab", "XAB"]),
        ("(?i)x(?-i:A|b)y", &["XAY", "Xby"], &["xay", "xBy"]),
        ("^ab|cd$", &["ab", "abx", "xcd"], &["xab", "cdx", "cd\n"]),
        ("^^a", &["ab"], &["ba"]),
        (r"\bab\b", &["ab", "x ab.", "-ab"], &["xab", "abx", "a_ab_", ""]),
        (r"(?:ab|\b)c", &["abc", " c", "c"], &["xc", "ab"]),
        (r"a\b\b,", &["a,"], &["a"]),
        ("a{3}", &["aaa", "baaab"], &["aa", "aba"]),
        ("ba{2,3}b", &["baab", "baaab"], &["bab", "baaaab"]),
        ("ba{2,}b", &["baab", "baaaaaab"], &["bab"]),
        ("x(?:ab?)*?y", &["xy", "xay", "xababay"], &["xby"]),
        ("(?:a*)*b", &["b", "aab"], &["a"]),
        (r"[^\]a-c-]x", &["dx", "\nx"], &["ax", "]x", "-x", "x"]),
        (r"[]a]x", &["]x", "ax"], &["x"]),
        (r"[\w. -]z", &["-z", "_z", " z"], &["\tz", "+z"]),
        (r"(?i)[A-F0-9]\x27", &["a'", "F'"], &["g'"]),
        (r"a\s\d\.", &["a\t0.", "a 9."], &["a\x0b0.", "ab0."]),
        (r"a.b", &["axb", "a\rb"], &["a\nb"]),
        (r"(?i)curl\b[^{}]*-u", &["CURL x -u", "curl-u"], &["curlx -u", "curl {} -u"]),
        ("a(?:b|)c", &["abc", "ac"], &["abbc"]),
    ] {
        for (texts, wanted) in [(yes, 1), (no, 0)] {
            let texts: Vec<&[u8]> = texts.iter().map(|t| t.as_bytes()).collect();
            assert_eq!(found(pattern, &texts), vec![wanted; texts.len()], "{pattern}: {texts:?}");
        }
    }
}

#[test]
fn what_is_written_in_other_ways_is_refused() {
    for pattern in [
        "(?<!a)b",
        "(?=a)b",
        "(?P<x>a)",
        r"(a)\1",
        "é",
        "[[:alpha:]]",
        r"\pL",
        r"\Aa",
        r"\Ba",
        "a**",
        "a{2}{2}",
        "a++",
        "*a",
        "(a",
        "a)",
        "[a",
        "a{2",
        "a{3,2}",
        "a{1001}",
        "[b-a]",
        r"a\",
        "(?m)^a",
        "(?s).",
        "",
        "a*",
        "^|a",
        r"\x8f",
        "(?:(?:(?:a{99}){99}){99}){99}",
    ] {
        assert!(Automaton::new(pattern.as_bytes()).is_none(), "{pattern}");
    }
    let deep = "(?:".repeat(60) + "a" + &")".repeat(60);
    assert!(Automaton::new(deep.as_bytes()).is_none());
}

/// Numbers that look like chance, the same ones in every run.
fn numbers(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

#[test]
fn many_texts_side_by_side_are_as_each_alone_also_when_states_are_forgotten() {
    let pattern = r"(?i)ab[^c]{3,9}(?:da|\bb)|^c+a{2}|d(?:a|b)+\bc|c.{12}d$";
    let mut next = numbers(7);
    let texts: Vec<Vec<u8>> = (0..3000).map(|_| (0..next(90)).map(|_| b"abcdABCD- \n"[next(11) as usize]).collect()).collect();
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    let alone: Vec<u8> = texts.iter().map(|text| found(pattern, &[text])[0]).collect();
    assert!(alone.contains(&0) && alone.contains(&1));
    assert_eq!(found(pattern, &texts), alone);
    let mut out = vec![0; texts.len()];
    let mut narrow = Automaton::new(pattern.as_bytes()).expect("a known expression").with_room(5);
    for (texts, out) in texts.chunks(300).zip(out.chunks_mut(300)) {
        assert!(narrow.find(texts.iter().copied(), out));
    }
    assert_eq!(out, alone);
}

#[test]
fn texts_that_are_new_at_every_step_are_given_up() {
    let mut next = numbers(9);
    let text: Vec<u8> = (0..2_000_000).map(|_| b"ab"[next(2) as usize]).collect();
    let mut automaton = Automaton::new(b"a[ab]{40}c").expect("a known expression").with_room(50);
    assert!(!automaton.find([text.as_slice()].into_iter(), &mut [0]));
}
