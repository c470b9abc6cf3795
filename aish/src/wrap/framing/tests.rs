use proptest::prelude::*;

use super::*;

fn pieces(framing: &Framing, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut cutter = Cutter::new(framing.clone());
    let mut replies = Vec::new();
    for piece in pieces {
        cutter.push(piece);
        while let Some(reply) = cutter.next() {
            replies.push(reply.unwrap());
        }
    }
    replies
}

fn both(end: &[u8]) -> Framing {
    Framing::Delimiter { request: end.to_vec(), reply: end.to_vec() }
}

#[test]
fn ci_64_a_line_break_in_a_line_is_refused() {
    let line = Framing::line();
    assert_eq!(line.request("hi", None).unwrap(), b"hi\n");
    for (text, input) in [("a\nb", None), ("\n", None), ("a", Some(&b"b"[..]))] {
        let error = line.request(text, input).unwrap_err();
        assert_eq!((error.code, error.message.contains("line break")), (Code::InvalidArgument, true), "{text:?}");
    }
    let zero = both(b"\0");
    assert_eq!(zero.request("a\nb", Some(b"c")).unwrap(), b"a\nb\n\nc\0");
    assert!(zero.request("a", Some(b"\0")).is_err());
    assert_eq!(Framing::Quiet(Duration::from_millis(5)).request("a\nb", None).unwrap(), b"a\nb\n");
}

#[test]
fn delimiters_have_escapes() {
    for (text, bytes) in [
        ("\\n", &b"\n"[..]),
        ("\\r\\n", b"\r\n"),
        ("\\t\\0\\\\", b"\t\0\\"),
        ("\\x1e\\xFF", b"\x1e\xff"),
        ("END", b"END"),
        ("é\\n", "é\n".as_bytes()),
    ] {
        assert_eq!(delimiter(text).unwrap(), bytes, "{text}");
    }
    for bad in ["", "\\", "a\\", "\\x", "\\x1", "\\xg0", "\\x+1", "\\é", "\\q", "\\xé"] {
        assert!(delimiter(bad).is_err(), "{bad}");
    }
}

#[test]
fn replies_end_where_the_framing_says() {
    assert_eq!(pieces(&Framing::line(), &[b"a", b"b\nc\n\nd"]), [&b"ab"[..], b"c", b""]);
    assert_eq!(pieces(&both(b"END"), &[b"aE", b"NEN", b"Db"]), [&b"aEN"[..]]);
    let prompt = Framing::prompt("> $").unwrap();
    assert_eq!(pieces(&prompt, &[b"> ", b"42\r\n> ", b"a > b\n", b"> "]), [&b""[..], b"42", b"a > b"]);
    let mut quiet = Cutter::new(Framing::Quiet(Duration::from_millis(5)));
    quiet.push(b"a\nb\n");
    assert!(quiet.next().is_none() && quiet.has_some());
    assert_eq!((quiet.silence().unwrap().as_slice(), quiet.has_some()), (&b"a\nb"[..], false));
}

#[test]
fn prompts_that_are_none_are_refused() {
    for bad in ["(", "", "x*", "$"] {
        assert!(Framing::prompt(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_reply_that_is_too_large_is_told_of_and_the_next_one_is_whole() {
    let mut cutter = Cutter { limit: 8, ..Cutter::new(both(b"--")) };
    for _ in 0..100 {
        cutter.push(b"123-");
        assert!(cutter.next().is_none());
        assert!(cutter.buffer.len() < 16);
    }
    cutter.push(b"-ok--");
    let error = cutter.next().unwrap().unwrap_err();
    assert!(error.code == Code::ResourceExhausted && error.message.contains("399 bytes"), "{error}");
    assert_eq!(cutter.next().unwrap().unwrap(), b"ok");
}

#[test]
fn line_ends_of_a_terminal() {
    let mut ends = LineEnds::default();
    let out: Vec<u8> = [&b"a\r"[..], b"\nb\rc\r", b"\r\n"].iter().flat_map(|bytes| ends.plain(bytes)).collect();
    assert_eq!(out, b"a\nb\rc\r\n");
}

proptest! {
    /// However the output is cut by the pipe, the replies are those of the whole.
    #[test]
    fn replies_do_not_depend_on_how_output_comes(
        output in proptest::collection::vec(proptest::sample::select(b"ab\nE-".to_vec()), 0..80),
        cuts in proptest::collection::vec(0..80_usize, 0..8),
        end in proptest::sample::select(vec![&b"\n"[..], b"--", b"E-E", b"aab"]),
    ) {
        let framing = both(end);
        let mut places: Vec<usize> = cuts.into_iter().map(|cut| cut.min(output.len())).collect();
        places.extend([0, output.len()]);
        places.sort_unstable();
        let parts: Vec<&[u8]> = places.windows(2).map(|pair| &output[pair[0]..pair[1]]).collect();
        let whole = pieces(&framing, &[&output]);
        prop_assert_eq!(&pieces(&framing, &parts), &whole);
        let again: Vec<u8> = whole.iter().flat_map(|reply| [reply.as_slice(), end].concat()).collect();
        prop_assert!(output.starts_with(&again));
    }

    /// What is sent holds the end once, at its end.
    #[test]
    fn a_request_is_one_request(text in "[a-zE\\n-]{0,20}", end in proptest::sample::select(vec!["\n", "--", "E-"])) {
        match both(end.as_bytes()).request(&text, None) {
            Ok(request) => {
                prop_assert_eq!(request.len(), text.len() + end.len());
                prop_assert_eq!(find(&request, end.as_bytes()), Some(text.len()));
            }
            Err(error) => {
                prop_assert!(error.code == Code::InvalidArgument);
                let whole = format!("{text}{end}");
                prop_assert!(find(whole.as_bytes(), end.as_bytes()) < Some(text.len()));
            }
        }
    }

    #[test]
    fn any_delimiter_is_read_or_refused(text in "[\\\\nrtx0-9a-fé]{0,12}|.{0,12}") {
        if let Ok(bytes) = delimiter(&text) {
            prop_assert!(!bytes.is_empty());
        }
    }
}
