//! Rows BAD-25 to BAD-33: every input of each.

use std::{fs, os::unix::fs::PermissionsExt};

use aigis_registry::archive::Attribute;

use super::{
    builder::{Entry, directory, entry, file, hard_link, link, open_ended, pax, record, tar},
    invalid, taken,
};

/// Refuses an archive whose last entry is that one.
#[track_caller]
fn refuses(last: Entry, words: &[&str]) {
    let number = "entry 2 of the archive";
    invalid(&tar(&[file("first"), last]), &[&[number], words].concat());
}

#[test]
fn bad_25_paths_that_lead_elsewhere() {
    for (path, rule) in [
        ("../x", "\"..\""),
        ("a/../../x", "\"..\""),
        ("a/..", "\"..\""),
        ("/etc/x", "absolute"),
        ("//x", "absolute"),
        ("C:\\x", "backslash"),
        ("C:x", "drive"),
        ("a\\..\\x", "backslash"),
        (".", "\".\" or empty"),
        ("./x", "\".\" or empty"),
        ("a//x", "\".\" or empty"),
        ("", "empty"),
        ("x/", "slash"),
    ] {
        refuses(file(path), &[rule]);
        if path != "x/" {
            refuses(directory(path), &[rule]);
            refuses(link(path, "first"), &[rule]);
        }
    }
    refuses(file("../x"), &["\"../x\""]);
    // By way of the prefix, a PAX record or a long name as well.
    refuses(file("x").put(345, b".."), &["\"..\""]);
    let long = format!("{}/../../../x", "d".repeat(100));
    invalid(&tar(&[pax(&[("path", &long)]), file("d")]), &["entry 1", "\"..\""]);
    invalid(&tar(&[entry(b'L', "././@LongLink", &long), file("d")]), &["entry 1", "\"..\""]);
}

#[test]
fn bad_26_links_that_leave_the_tree() {
    for (target, rule) in [
        ("/etc/passwd", "out of the tree"),
        ("../x", "out of the tree"),
        ("..", "out of the tree"),
        ("a/../../x", "out of the tree"),
        ("C:\\x", "backslash"),
        ("", "empty"),
    ] {
        refuses(link("l", target), &[rule, &format!("\"{}\"", target.escape_default())]);
    }
    // A chain: each by itself stays inside.
    let chain = [directory("d/"), directory("d/e/"), link("a", "d/e/b/../../../.."), link("d/e/b", "..")];
    invalid(&tar(&chain), &["entry 3", "out of the tree"]);
    invalid(&tar(&[link("a", "b"), link("b", "..")]), &["entry 2", "\"..\"", "out of the tree"]);
    invalid(&tar(&[directory("d/"), link("d/l", "../../x")]), &["entry 2", "\"../../x\""]);
    invalid(&tar(&[link("a", "first"), file("a/x")]), &["entry 2", "through the link of entry 1", "\"a\""]);
    invalid(&tar(&[link("a", "b"), link("b", "a")]), &["entry 1", "circle"]);
    invalid(&tar(&[link("a", "a")]), &["entry 1", "circle"]);
    for (target, rule) in [
        ("/etc/passwd", "out of the tree"),
        ("../x", "out of the tree"),
        ("missing", "no earlier entry"),
        ("own", "no earlier entry"),
        ("d", "no regular file"),
        ("l", "no regular file"),
        ("FIRST", "no earlier entry"),
    ] {
        let archive = tar(&[file("first"), directory("d/"), link("l", "first"), hard_link("own", target)]);
        invalid(&archive, &["entry 4", rule, &format!("\"{target}\"")]);
    }
    invalid(&tar(&[hard_link("a", "later"), file("later")]), &["entry 1", "\"later\""]);
    let through = [directory("d/"), file("d/x"), link("l", "d"), hard_link("own", "l/x")];
    invalid(&tar(&through), &["entry 4", "\"l/x\""]);
}

#[test]
fn links_inside_the_tree_are_taken_and_hard_links_are_files() {
    let (place, report) = taken(&tar(&[
        directory("d/"),
        file("d/x").put(100, b"0000755\0"),
        link("d/up", "../d/x"),
        link("dangling", "not/here/../either"),
        hard_link("copy", "d/x"),
    ]));
    assert_eq!((report.entries, report.bytes), (5, 14));
    assert_eq!(fs::read_to_string(place.tree().join("d/up")).unwrap(), "content");
    assert_eq!(fs::read_link(place.tree().join("dangling")).unwrap().to_str(), Some("not/here/../either"));
    let copy = fs::symlink_metadata(place.tree().join("copy")).unwrap();
    assert!(copy.is_file() && copy.permissions().mode() & 0o7777 == 0o755);
    fs::write(place.tree().join("copy"), "other").unwrap();
    assert_eq!(fs::read_to_string(place.tree().join("d/x")).unwrap(), "content");
}

#[test]
fn bad_27_entries_in_each_others_way() {
    for (first, second, words) in [
        (link("a", "first"), directory("a/"), "directory over the link"),
        (link("a", "first"), file("a"), "same path"),
        (directory("a/"), file("a"), "over the directory"),
        (directory("a/"), link("a", "first"), "over the directory"),
        (file("a/x"), file("a"), "over the directory"),
        (file("a"), directory("a/"), "directory over the file"),
        (file("a"), file("a/x"), "below the file"),
        (file("a"), file("a"), "same path"),
        (directory("a/"), directory("a/"), "same path"),
        (file("a"), hard_link("a", "first"), "same path"),
        (file("Makefile"), file("makefile"), "on some hosts, the same"),
        (directory("Src/"), file("src/x"), "on some hosts, the same"),
        (file("\u{e4}"), file("a\u{308}"), "on some hosts, the same"),
        (file("\u{c4}"), file("a\u{308}"), "on some hosts, the same"),
        (file("stra\u{df}e"), file("STRASSE"), "on some hosts, the same"),
    ] {
        let path = String::from_utf8_lossy(&first.header[..100]).trim_end_matches(['\0', '/']).to_owned();
        let archive = tar(&[file("first"), first, second]);
        invalid(&archive, &["entry 3", words, "entry 2", path.split('/').next().unwrap()]);
    }
    // A directory may be named after what is in it.
    taken(&tar(&[file("a/x"), directory("a/")]));
}

#[test]
fn bad_28_types_that_no_tree_has() {
    for (kind, name) in [
        (b'3', "character device"),
        (b'4', "block device"),
        (b'6', "FIFO"),
        (b'7', "unknown"),
        (b's', "\"s\""),
        (b'Z', "\"Z\""),
        (b'D', "unknown"),
        (0xff, "\\xff"),
    ] {
        refuses(entry(kind, "x", ""), &["its type is", name]);
    }
}

#[test]
fn bad_29_names_that_not_every_host_can_use() {
    refuses(file(b"a\xffb"), &["not UTF-8", "a\\xffb"]);
    refuses(file("a\nb"), &["control", "a\\nb"]);
    refuses(file("a\x1b[2Jb"), &["control", "\\u{1b}"]);
    refuses(file("a\u{9b}b"), &["control"]);
    let paxed = |path: &str| tar(&[pax(&[("path", path)]), file("placeholder")]);
    let named = |path: &str| tar(&[entry(b'L', "././@LongLink", [path.as_bytes(), b"\0"].concat()), file("x")]);
    let mut with_nul = "n".repeat(150);
    with_nul.insert(7, '\0');
    let parts = |count: usize, length: usize| vec!["p".repeat(length); count].join("/");
    for (path, rule) in
        [(with_nul, "control"), (parts(1, 256), "longer than 255"), (parts(65, 2), "more than 64 parts")]
    {
        invalid(&paxed(&path), &["entry 1", rule]);
        invalid(&named(&path), &["entry 1", rule]);
    }
    let long = format!("{}/p", parts(4, 255));
    invalid(&paxed(&long), &["entry 1", "longer than 1024"]);
    invalid(&named(&long), &["entry 1", "1026 bytes", "1025"]);
    let (place, report) = taken(&paxed(&parts(4, 255)));
    assert_eq!(report.entries, 4);
    assert!(place.tree().join(parts(4, 255)).is_file());
    assert_eq!(taken(&named(&parts(64, 2))).1.entries, 64);
}

#[test]
fn bad_30_attributes_are_dropped_and_noted() {
    use Attribute::{Extended, NoMode, Owner, SpecialBits, Time};
    let many = |records: &[(&str, &str)]| [pax(records), file("noted")];
    for (entries, attribute) in [
        (vec![file("noted").put(100, b"0004755\0")], SpecialBits),
        (vec![file("noted").put(100, b"0002755\0")], SpecialBits),
        (vec![file("noted").put(100, b"0001755\0")], SpecialBits),
        (vec![directory("noted/").put(100, b"0001777\0")], SpecialBits),
        (vec![file("noted").put(100, b"0000000\0")], NoMode),
        (vec![file("noted").base_256(108, 8, 1 << 31)], Owner),
        (vec![file("noted").base_256(136, 12, -1)], Time),
        (vec![file("noted").base_256(136, 12, 253_402_300_799)], Time),
        (many(&[("uid", "2147483648")]).to_vec(), Owner),
        (many(&[("mtime", "-1.5")]).to_vec(), Time),
        (many(&[("mtime", "253402300799.25")]).to_vec(), Time),
        (many(&[("SCHILY.xattr.user.x", "y")]).to_vec(), Extended),
        (many(&[("SCHILY.xattr.security.capability", "\u{1}\u{2}")]).to_vec(), Extended),
    ] {
        let (place, report) = taken(&tar(&entries));
        let [note] = &report.notes[..] else { panic!("{report:?}") };
        assert_eq!((note.number, note.path.as_str(), note.attribute), (1, "noted", attribute));
        let metadata = fs::metadata(place.tree().join("noted")).unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        assert!(mode == 0o755 || mode == 0o644 && metadata.is_file(), "{mode:o}");
        assert!(metadata.modified().unwrap().elapsed().unwrap().as_secs() < 600);
    }
    let plain = tar(&[pax(&[("mtime", "1700000000.5"), ("uid", "1000"), ("comment", "x")]), file("plain")]);
    assert_eq!(taken(&plain).1.notes, []);
    let noisy: Vec<_> = (0..150).map(|n| file(format!("f{n}")).put(100, b"0004755\0")).collect();
    let report = taken(&tar(&noisy)).1;
    assert_eq!((report.notes.len(), report.more_notes), (100, 50));
}

#[test]
fn bad_31_records_that_contradict_the_header() {
    let with = |records: &[(&str, &str)], entry: Entry| tar(&[pax(records), entry]);
    invalid(&with(&[("path", "other")], file("x")), &["entry 1", "\"path\"", "contradicts"]);
    invalid(&with(&[("linkpath", "other")], link("x", "y")), &["entry 1", "\"linkpath\"", "contradicts"]);
    invalid(&tar(&[entry(b'L', "././@LongLink", "other\0"), file("x")]), &["entry 1", "\"path\"", "contradicts"]);
    // The hidden archive of CVE-2025-62518: one reader takes the next header for content, another does not.
    let inner = open_ended(&[file("hidden")]);
    let size = inner.len().to_string();
    invalid(&with(&[("size", &size)], entry(b'0', "x", &inner).size(0)), &["entry 1", "\"size\"", "contradicts"]);
    invalid(&with(&[("size", "0")], file("x")), &["entry 1", "\"size\"", "contradicts"]);
    taken(&with(&[("path", "x"), ("size", "7")], file("x")));
    invalid(&tar(&[entry(b'g', "pax_global_header", record("comment", "x")), file("x")]), &["entry 1", "global"]);
    let huge = record("comment", &"x".repeat(1_000_000));
    invalid(&tar(&[entry(b'x', "PaxHeaders/x", huge), file("x")]), &["entry 1", "records", "65536"]);
    for broken in [
        "path=x\n",
        "99 path=x\n",
        "5 path=x\n",
        "x path=x\n",
        "-9 path=x\n",
        "+9 path=x\n",
        "0 \n",
        "10 path=xx",
        "9 pathxx\n",
        "8 =xxxx\n",
        "9 path=x\n7 ",
        "99999999999999999999 path=x\n",
    ] {
        invalid(&tar(&[entry(b'x', "PaxHeaders/x", broken), file("x")]), &["entry 1", "PAX records are broken"]);
    }
    invalid(&with(&[("path", "x"), ("path", "y")], file("x")), &["two of \"path\""]);
    invalid(&with(&[("mtime", "soon")], file("x")), &["a number is none"]);
    invalid(&tar(&[pax(&[("path", "x")]), pax(&[("path", "x")]), file("x")]), &["two of"]);
    invalid(&tar(&[file("x"), pax(&[("path", "y")])]), &["\"x\" belongs to no entry"]);
    let long = "n".repeat(120);
    let both = [entry(b'L', "././@LongLink", &long), pax(&[("path", &long)]), file("n")];
    invalid(&tar(&both), &["by PAX and by GNU"]);
}

#[test]
fn bad_32_gnu_headers_that_claim_what_cannot_be() {
    let long = |size| tar(&[entry(b'L', "././@LongLink", "").size(size), file("x")]);
    invalid(&long(1 << 30), &["entry 1", "\"name\"", "1073741824"]);
    invalid(&long(-1), &["entry 1", "\"size\"", "-1"]);
    invalid(&tar(&[entry(b'K', "././@LongLink", "").size(1 << 30), file("x")]), &["entry 1", "\"linkname\""]);
    refuses(entry(b'S', "sparse", "").size(1 << 40), &["sparse", "typeflag"]);
    let records: &[(&str, &str)] = &[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "1099511627776")];
    invalid(&tar(&[pax(records), file("x")]), &["entry 1", "sparse", "GNU.sparse"]);
    refuses(file("x").size(-7), &["\"size\"", "-7"]);
    refuses(file("x").size(1 << 63), &["\"size\"", "9223372036854775808"]);
    refuses(directory("x/").size(1 << 63), &["\"size\""]);
    refuses(directory("x/").size(512), &["\"size\"", "512"]);
    refuses(link("x", "y").size(512), &["\"size\"", "512"]);
    refuses(file("x").put(124, b"0000000009\0\0"), &["\"size\"", "no number"]);
    refuses(file("x").put(124, b"-0000000007\0"), &["\"size\"", "no number"]);
    invalid(&tar(&[entry(b'L', "././@LongLink", "x"), entry(b'L', "././@LongLink", "x"), file("x")]), &["two of"]);
}

#[test]
fn bad_33_what_is_no_whole_archive() {
    let good = tar(&[file("a"), file("b")]);
    let mut flipped = good.clone();
    flipped[1024] ^= 1;
    invalid(&flipped, &["byte 1024", "checksum"]);
    invalid(&[b'x'; 4096], &["byte 0", "no header"]);
    invalid(b"PK\x03\x04", &["byte 4", "cut off"]);
    invalid(&good[..1024 + 100], &["byte 1124", "within a header"]);
    invalid(&good[..512 + 3], &["byte 515", "within an entry"]);
    invalid(&good[..512 + 100], &["byte 612", "within an entry"]);
    invalid(&good[..2048], &["byte 2048", "no end"]);
    invalid(&good[..2048 + 512], &["byte 2560", "no end"]);
    let lone = [open_ended(&[file("a")]), vec![0; 512], tar(&[file("b")])].concat();
    invalid(&lone, &["byte 1536", "no end"]);
    invalid(&[good.as_slice(), b"x"].concat(), &["byte 3072", "after its end"]);
    invalid(&[good.as_slice(), &tar(&[file("c")])].concat(), &["byte 3072", "after its end"]);
    invalid(&[good.as_slice(), &vec![0; 2 << 20]].concat(), &["after its end"]);
    taken(&[good.as_slice(), &[0; 8192]].concat());
    let mut old = file("x");
    old.header[257..265].fill(0);
    invalid(&tar(&[old.put(0, b"x")]), &["byte 0", "no header"]);
}
