//! What is to be played, from the words of the command line.

use aigis_proxy::fault::Point;

use crate::{
    chain,
    stage::{BOUNDARY_VICTIMS, Victim},
};

/// How often each point is played unless it is said.
const TIMES: u32 = 5;
/// How many chains run at once unless it is said.
const CHAINS: u32 = 100;

/// What is to be played.
#[derive(Debug)]
pub(crate) enum Wishes {
    /// The cells of these victims and steps.
    Cells { victims: Vec<Victim>, steps: Vec<u32> },
    /// Deaths at these points, so many at each.
    Points { points: Vec<Point>, times: u32 },
    /// So many chains at once.
    Crowd { chains: u32 },
}

impl Wishes {
    /// Reads them; the error says which word means nothing.
    pub(crate) fn read(words: &[String]) -> Result<Self, String> {
        match words.split_first() {
            Some((first, rest)) if first == "--points" => points(rest),
            Some((first, rest)) if first == "--crowd" => crowd(rest),
            _ => cells(words),
        }
    }
}

fn cells(words: &[String]) -> Result<Wishes, String> {
    let (mut victims, mut steps) = (Vec::new(), Vec::new());
    for word in words {
        let victim = BOUNDARY_VICTIMS.into_iter().find(|victim| victim.as_str() == word);
        let step = word.parse::<u32>().ok().filter(|step| (1..=chain::STEPS).contains(step));
        match (victim, step) {
            (Some(victim), _) => victims.push(victim),
            (None, Some(step)) => steps.push(step),
            (None, None) => {
                let known = BOUNDARY_VICTIMS.map(Victim::as_str).join(", ");
                return Err(unknown(word, &format!("victims are {known}; steps are 1 to {}", chain::STEPS)));
            }
        }
    }
    if victims.is_empty() {
        victims = BOUNDARY_VICTIMS.to_vec();
    }
    if steps.is_empty() {
        steps = (1..=chain::STEPS).collect();
    }
    Ok(Wishes::Cells { victims, steps })
}

fn points(words: &[String]) -> Result<Wishes, String> {
    let (mut points, mut times) = (Vec::new(), TIMES);
    for word in words {
        let point = Point::ALL.into_iter().find(|point| point.as_str() == word);
        match (point, word.parse::<u32>()) {
            (Some(point), _) => points.push(point),
            (None, Ok(number)) if number > 0 => times = number,
            _ => {
                let known = Point::ALL.map(Point::as_str).join(", ");
                return Err(unknown(word, &format!("points are {known}; a number says how often each is played")));
            }
        }
    }
    if points.is_empty() {
        points = Point::ALL.to_vec();
    }
    Ok(Wishes::Points { points, times })
}

fn crowd(words: &[String]) -> Result<Wishes, String> {
    match words {
        [] => Ok(Wishes::Crowd { chains: CHAINS }),
        [number] => match number.parse() {
            Ok(chains) if chains > 0 => Ok(Wishes::Crowd { chains }),
            _ => Err(unknown(number, "after --crowd stands how many chains run at once")),
        },
        [_, word, ..] => Err(unknown(word, "after --crowd stands one number")),
    }
}

fn unknown(word: &str, hint: &str) -> String {
    format!("kill-matrix: \"{}\" means nothing here\nhint: {hint}", word.escape_default())
}
