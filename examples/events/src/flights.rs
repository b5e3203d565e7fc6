//! The real events: every flight that departed New York in 2013 (US Bureau of Transportation Statistics, CC0).

use crate::dao::{Event, Line};
use std::io::{BufRead, BufReader, Read};

/// The events as they come with the project, zstd-compressed CSV, 336,776 rows.
#[must_use]
pub fn embedded() -> &'static [u8] {
    include_bytes!("../data/flights.csv.zst")
}

/// A flight as it was in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// The event of its landing; for a cancelled flight that of its schedule.
    pub event: Event,
    /// It never took off.
    pub cancelled: bool,
}

impl Flight {
    /// The event as it is recorded when the flight is scheduled.
    #[must_use]
    pub fn scheduled(&self) -> Event {
        Event { departure_delay: None, arrival_delay: None, air_time: None, ..self.event.clone() }
    }
}

/// Why a data file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FlightsError {
    /// It is not readable, or not zstd.
    #[error(
        "the data cannot be unpacked: give a zstd-compressed CSV file such as examples/events/data/flights.csv.zst"
    )]
    Unpack(#[from] std::io::Error),
    /// A line of it is not a flight.
    #[error("line {line} of the data is no flight: {what}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

const HEADER: &str = "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour";

/// The first `most` flights of a zstd-compressed CSV.
///
/// # Errors
/// [`FlightsError`], with the line.
pub fn flights(data: impl Read, most: usize) -> Result<Vec<Flight>, FlightsError> {
    let lines = BufReader::new(zstd::Decoder::new(data)?).lines();
    let mut flights = Vec::new();
    for (place, line) in lines.enumerate().take(most.saturating_add(1)) {
        let line = line?;
        if place == 0 {
            if line.trim_end() != HEADER {
                return Err(FlightsError::Line { line: 1, what: "its header is another one" });
            }
            continue;
        }
        let flight = flight(place as u64 - 1, &line).map_err(|what| FlightsError::Line { line: place + 1, what })?;
        flights.push(flight);
    }
    Ok(flights)
}

fn flight(id: u64, line: &str) -> Result<Flight, &'static str> {
    let columns: Vec<&str> = line.trim_end().split(',').collect();
    let [
        _,
        _,
        _,
        departed,
        _,
        departure_delay,
        _,
        _,
        arrival_delay,
        carrier,
        number,
        tail,
        origin,
        destination,
        air_time,
        distance,
        _,
        _,
        hour,
    ] = columns[..]
    else {
        return Err("it has not 19 columns");
    };
    let minutes = |text: &str| match text {
        "NA" => Ok(None),
        digits => digits.parse::<i32>().map(Some).map_err(|_| "a number is none"),
    };
    if carrier.is_empty() || number.is_empty() {
        return Err("carrier or flight number is missing");
    }
    let event = Event {
        id,
        line: Line(format!("{carrier}{number}")),
        tail: (tail != "NA").then(|| tail.to_owned()),
        origin: origin.to_owned(),
        destination: destination.to_owned(),
        scheduled: hour.to_owned(),
        departure_delay: minutes(departure_delay)?,
        arrival_delay: minutes(arrival_delay)?,
        air_time: minutes(air_time)?,
        distance: minutes(distance)?.ok_or("the distance is missing")?,
    };
    Ok(Flight { event, cancelled: departed == "NA" })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn all_flights_are_read_and_the_cancelled_ones_known() {
        let all = flights(embedded(), usize::MAX).unwrap();
        assert_eq!(all.len(), 336_776);
        assert_eq!(all.iter().filter(|flight| flight.cancelled).count(), 8_255);
        assert_eq!(all[0].event.line, Line("UA1545".to_owned()));
        assert_eq!((all[0].event.departure_delay, all[0].scheduled().departure_delay), (Some(2), None));
    }

    #[test]
    fn broken_data_is_told_from_flights() {
        assert!(matches!(flights(&b"plain text"[..], 9), Err(FlightsError::Unpack(_))));
        let packed = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
        assert!(matches!(flights(&packed("a,b\n")[..], 9), Err(FlightsError::Line { line: 1, .. })));
        let short = packed(&format!("{HEADER}\n1,2,3\n"));
        assert!(matches!(flights(&short[..], 9), Err(FlightsError::Line { line: 2, .. })));
    }
}
