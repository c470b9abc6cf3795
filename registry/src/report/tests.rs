use super::*;

/// What waits in a spool, in order.
fn kept(directory: &Path) -> Vec<Told> {
    let files = spool::segments(directory).unwrap();
    let lines = files.iter().flat_map(|segment| {
        let text = std::fs::read(spool::path(directory, *segment)).unwrap();
        text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>()
    });
    lines.filter_map(|line| spool::parse::<Kept>(&line)).map(|kept| kept.told).collect()
}

/// Awaits that so much was written.
async fn written(directory: &Path, least: usize) -> Vec<Told> {
    for _ in 0..500 {
        let told = kept(directory);
        if told.len() >= least {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", kept(directory));
}

fn say(reporter: &Reporter, line: &str) {
    reporter.line(Timestamp::now(), Source::Node, Some(Level::Info), line);
}

fn text(told: &Told) -> &str {
    match told {
        Told::Line(line) => &line.line,
        Told::Event(event) => &event.what,
    }
}

#[tokio::test]
async fn lines_and_events_stand_in_the_order_in_which_they_were_told() {
    let directory = tempfile::tempdir().unwrap();
    let alpha = NodeName::parse("alpha").unwrap();
    let reporter = Reporter::open(directory.path(), alpha.clone()).unwrap();
    say(&reporter, "one");
    reporter.ci_event(Timestamp::now(), Name::parse("web").unwrap(), "started", Value::Null);
    say(&reporter, &"ä".repeat(MAX_LINE));
    let told = written(directory.path(), 3).await;
    drop(reporter);
    let reporter = Reporter::open(directory.path(), alpha).unwrap();
    say(&reporter, "four");
    let all = written(directory.path(), 4).await;
    assert_eq!(all.iter().map(text).filter(|text| text.len() < 10).collect::<Vec<_>>(), ["one", "started", "four"]);
    assert_eq!(text(&told[2]).len(), MAX_LINE, "a line that is too long is cut");
    let numbers = all.iter().filter_map(|told| match told {
        Told::Line(line) => Some(line.seq),
        Told::Event(_) => None,
    });
    assert_eq!(numbers.collect::<Vec<_>>(), [1, 3, 4]);
}

#[tokio::test]
async fn flt_13_beyond_its_room_lines_are_lost_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let alpha = NodeName::parse("alpha").unwrap();
    let reporter = Reporter::open_with(directory.path(), alpha.clone(), 1).unwrap();
    say(&reporter, "first");
    let _first = written(directory.path(), 1).await;
    for _ in 0..7 {
        say(&reporter, "lost");
    }
    assert_eq!(kept(directory.path()).len(), 1);
    // As if all that waited had been shipped.
    let shipping = spool::ship(reporter.0.spool.clone(), |_| std::future::ready(()));
    while reporter.backlog() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(shipping);
    reporter.tell_lost();
    let told = written(directory.path(), 2).await;
    assert!(text(&told[1]).starts_with("7 lines and events are missing here"), "{told:?}");
}
