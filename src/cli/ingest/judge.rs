//! What a server's answer means for what was sent.
//!
//! Pure. An answer after which nobody knows whether rows were written is never called a failure: the same request is sent
//! again, and the server knows it by its producer and number.

use std::time::Duration;

use serde_json::Value;

/// Errors of rows that are told.
const TOLD: usize = 5;

/// Characters that are told of an answer that is none of floeberg's.
const FOREIGN_CHARS: usize = 300;

/// The longest that a server's wish to be left alone is heeded.
const AFTER_MAX: Duration = Duration::from_secs(60);

/// What a server answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: u16,
    /// When it may be asked again.
    pub(super) after: Option<Duration>,
    /// What it says, if that is JSON.
    pub(super) said: Value,
    /// What it says.
    pub(super) text: String,
}

/// Rows, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// They are in the table.
    pub(super) written: u64,
    /// They do not fit, and are left out.
    pub(super) rejected: u64,
    /// They were there before.
    pub(super) duplicate: u64,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delivered {
    /// Its rows are in the table.
    Taken(Counts),
    /// A request of its number was taken before: how far that one went is to be asked.
    Known(Counts),
    /// One before it is missing: how far the producer is, is to be asked.
    Lost,
    /// It is more than the server takes at once.
    TooLarge(String),
    /// None of its rows fits, or one that does not is enough: nothing was written.
    Unfit(Counts, String),
}

/// Why it is not known what became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is to be sent again, the same.
    Again {
        /// Not before this is over.
        after: Option<Duration>,
        /// What is wrong.
        why: String,
    },
    /// It will never be taken.
    Refused(String),
}

/// How far a producer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The number of its next request.
    pub(super) next: i64,
    /// Where that begins; `None`: at the beginning.
    pub(super) at: Option<u64>,
    /// Whether there is none.
    pub(super) over: bool,
}

impl Standing {
    /// The one after a request that ends here.
    pub(super) fn after(self, next: u64, last: bool) -> Self {
        Self { next: self.next + 1, at: Some(next), over: last }
    }

    /// What the server is to keep of it.
    pub(super) fn token(self) -> String {
        let end = if self.over { END } else { "" };
        format!("{}{end}", self.at.unwrap_or(0))
    }

    fn read(sequence: i64, token: &str) -> Option<Self> {
        let (number, over) = token.strip_suffix(END).map_or((token, false), |number| (number, true));
        Some(Self { next: sequence.checked_add(1)?, at: Some(number.parse().ok()?), over })
    }
}

const END: &str = " end";

impl Counts {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            written: self.written + other.written,
            rejected: self.rejected + other.rejected,
            duplicate: self.duplicate + other.duplicate,
        }
    }

    /// The same where it was we who wrote what was there before.
    pub(super) fn ours(self) -> Self {
        Self { written: self.written + self.duplicate, duplicate: 0, ..self }
    }
}

impl Answer {
    fn code(&self) -> &str {
        self.said["code"].as_str().unwrap_or_default()
    }

    /// The answer in words.
    pub(super) fn words(&self) -> String {
        let Some(detail) = self.said["detail"].as_str() else {
            let text: String = self.text.trim().chars().take(FOREIGN_CHARS).collect();
            return format!("the server answers {}: {text}", self.status);
        };
        let mut words = format!("the server answers {}: {detail}", self.status);
        let errors = self.said["errors"].as_array().map_or(&[][..], Vec::as_slice);
        for error in errors.iter().take(TOLD) {
            words.push_str(&format!("\n  {}", of_row(error)));
        }
        if errors.len() > TOLD || self.said["errors_truncated"] == true {
            words.push_str("\n  …");
        }
        words
    }

    fn again(&self) -> Trouble {
        Trouble::Again { after: self.after.map(|after| after.min(AFTER_MAX)), why: self.words() }
    }
}

fn of_row(error: &Value) -> String {
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    let line = error["line"].as_u64().map_or_else(String::new, |line| format!(", line {line}"));
    let pointer = Some(text("pointer")).filter(|pointer| !pointer.is_empty());
    let pointer = pointer.map_or_else(String::new, |pointer| format!(", {pointer}"));
    format!("row {}{line}{pointer}: {}", error["index"].as_u64().unwrap_or(0), text("detail"))
}

/// What an answer to rows means.
pub(super) fn of_rows(answer: &Answer) -> Result<Delivered, Trouble> {
    match (answer.status, answer.code()) {
        (200..=299, _) => taken(&answer.said).ok_or_else(|| Trouble::Refused(answer.words())),
        (409, "producer_gap") => Ok(Delivered::Lost),
        // A smaller one has fewer rows that do not fit.
        (413, _) | (422, "too_many_rejected") => Ok(Delivered::TooLarge(answer.words())),
        (422, _) if answer.said["rows"].is_object() => unfit(answer).ok_or_else(|| trouble(answer)),
        // Others changed the table meanwhile, and nothing was written.
        (409, "conflict" | "schema_changed" | "spec_removed" | "already_exists") => Err(answer.again()),
        _ => Err(trouble(answer)),
    }
}

fn taken(said: &Value) -> Option<Delivered> {
    let counts = counted(&said["rows"])?;
    Some(if said["duplicate"] == true { Delivered::Known(counts) } else { Delivered::Taken(counts) })
}

/// Rows of which none fits are over once they are dead letters.
fn unfit(answer: &Answer) -> Option<Delivered> {
    match answer.said["duplicate"].as_bool() {
        Some(_) => taken(&answer.said),
        None => Some(Delivered::Unfit(counted(&answer.said["rows"])?, answer.words())),
    }
}

fn counted(rows: &Value) -> Option<Counts> {
    let count = |name: &str| rows[name].as_u64();
    let (rejected, duplicate) = (count("rejected").unwrap_or(0), count("duplicate").unwrap_or(0));
    Some(Counts { written: count("written")?, rejected, duplicate })
}

/// What an answer to the question means how far a producer is.
pub(super) fn of_standing(answer: &Answer) -> Result<Standing, Trouble> {
    match (answer.status, answer.code()) {
        (404, "not_found") => Ok(Standing::default()),
        (200..=299, _) => {
            let sequence = answer.said["sequence"].as_i64();
            let token = answer.said["offset_token"].as_str();
            let standing = sequence.zip(token).and_then(|(sequence, token)| Standing::read(sequence, token));
            standing.ok_or_else(|| Trouble::Refused(format!("{} (none of this command's)", answer.words())))
        }
        _ => Err(trouble(answer)),
    }
}

/// What an answer means that says neither.
fn trouble(answer: &Answer) -> Trouble {
    let open = answer.status == 500 && answer.said["state"] == "unknown";
    if open || matches!(answer.status, 408 | 425 | 429 | 502 | 503 | 504) {
        return answer.again();
    }
    Trouble::Refused(answer.words())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, said: Value) -> Answer {
        Answer { status, after: None, text: said.to_string(), said }
    }

    fn problem(status: u16, code: &str) -> Answer {
        answer(status, json!({"code": code, "detail": "why", "errors": []}))
    }

    #[test]
    fn answers_to_rows_are_judged() {
        let rows = |duplicate: bool| {
            let rows = json!({"received": 3, "written": 2, "rejected": 1, "duplicate": 0});
            answer(200, json!({"rows": rows, "duplicate": duplicate}))
        };
        let counts = Counts { written: 2, rejected: 1, duplicate: 0 };
        assert_eq!(of_rows(&rows(false)), Ok(Delivered::Taken(counts)));
        assert_eq!(of_rows(&rows(true)), Ok(Delivered::Known(counts)));
        assert_eq!(of_rows(&problem(409, "producer_gap")), Ok(Delivered::Lost));
        for (status, code) in [(413, "too_large"), (422, "too_many_rejected")] {
            assert!(matches!(of_rows(&problem(status, code)), Ok(Delivered::TooLarge(_))), "{code}");
        }
        let unfit = |more: Value| {
            let rows = json!({"received": 3, "written": 0, "rejected": 3, "duplicate": 0});
            let mut said = json!({"code": "rows", "detail": "3 of 3 rows do not fit", "errors": [], "rows": rows});
            said.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            of_rows(&answer(422, said))
        };
        let counts = Counts { written: 0, rejected: 3, duplicate: 0 };
        assert!(matches!(unfit(json!({})), Ok(Delivered::Unfit(told, _)) if told == counts));
        assert_eq!(unfit(json!({"duplicate": false})), Ok(Delivered::Taken(counts)), "they are dead letters");
        assert_eq!(unfit(json!({"duplicate": true})), Ok(Delivered::Known(counts)));
        for (status, code, again) in [
            (200, "", false),
            (301, "", false),
            (400, "malformed", false),
            (401, "unauthenticated", false),
            (404, "not_found", false),
            (409, "conflict", true),
            (409, "producer_fenced", false),
            (409, "partition_spec_differs", false),
            (409, "schema_changed", true),
            (415, "unsupported_media_type", false),
            (422, "rows", false),
            (429, "busy", true),
            (500, "internal", false),
            (502, "", true),
            (503, "unavailable", true),
            (504, "pending", true),
        ] {
            let trouble = of_rows(&problem(status, code)).expect_err("no yes");
            assert_eq!(matches!(trouble, Trouble::Again { .. }), again, "{status} {code}");
        }
        let unknown = answer(500, json!({"code": "unknown", "state": "unknown", "detail": "open"}));
        assert!(matches!(of_rows(&unknown), Err(Trouble::Again { .. })));
        let busy = Answer { after: Some(Duration::from_secs(600)), ..problem(429, "busy") };
        let Err(Trouble::Again { after, .. }) = of_rows(&busy) else { panic!("to be sent again") };
        assert_eq!(after, Some(AFTER_MAX));
    }

    #[test]
    fn standings_are_read_back_as_they_were_sent() {
        for standing in [
            Standing { next: 1, at: Some(0), over: false },
            Standing { next: 8, at: Some(u64::MAX), over: true },
            Standing { next: 3, at: None, over: false }.after(77, false),
        ] {
            let body = json!({"epoch": 0, "sequence": standing.next - 1, "offset_token": standing.token()});
            assert_eq!(of_standing(&answer(200, body)), Ok(standing));
        }
        assert_eq!(of_standing(&problem(404, "not_found")), Ok(Standing::default()));
        for foreign in [
            answer(404, Value::Null),
            answer(200, json!({"epoch": 0, "sequence": null, "offset_token": "5"})),
            answer(200, json!({"epoch": 0, "sequence": 4, "offset_token": "page 5"})),
            problem(401, "unauthenticated"),
        ] {
            assert!(matches!(of_standing(&foreign), Err(Trouble::Refused(_))), "{foreign:?}");
        }
        assert!(matches!(of_standing(&problem(503, "unavailable")), Err(Trouble::Again { .. })));
    }

    #[test]
    fn what_is_wrong_with_rows_is_told() {
        let error =
            |index| json!({"index": index, "line": index + 1, "pointer": "/a", "code": "c", "detail": "no int"});
        let all: Vec<Value> = (0..7).map(error).collect();
        let words = answer(422, json!({"code": "c", "detail": "7 of 9 rows do not fit", "errors": all})).words();
        assert!(words.starts_with("the server answers 422: 7 of 9 rows do not fit\n  row 0, line 1, /a: no int\n"));
        assert!(words.ends_with("row 4, line 5, /a: no int\n  …"), "{words}");
        let foreign = Answer { text: "<html>no".to_owned(), ..answer(403, Value::Null) };
        assert_eq!(foreign.words(), "the server answers 403: <html>no");
    }

    #[test]
    fn rows_that_an_open_outcome_wrote_are_ours() {
        let counts = Counts { written: 0, rejected: 1, duplicate: 5 };
        assert_eq!(counts.ours(), Counts { written: 5, rejected: 1, duplicate: 0 });
        assert_eq!(counts.and(counts), Counts { written: 0, rejected: 2, duplicate: 10 });
    }
}
