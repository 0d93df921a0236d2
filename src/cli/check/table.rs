//! The rows for a person: a table, and below what does not work, why, and what to change.

use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::row::{Row, Status};

/// The widest that a column becomes because of its content; what is longer pushes the rest of its line.
const WIDEST: usize = 44;

/// What is below a line stands this far in.
const INDENT: &str = "      ";

/// The table, and a last line that sums it up.
pub(super) fn text(rows: &[Row], colour: bool) -> String {
    let width = |text: fn(&Row) -> &str| {
        let widths = rows.iter().map(|row| text(row).chars().count());
        widths.filter(|width| *width <= WIDEST).max().unwrap_or(0)
    };
    let (what, value) = (width(|row| row.what), width(|row| &row.value));
    let mut lines = Vec::new();
    for row in rows {
        let status = painted(row.status, colour);
        let found = [row.detail.clone(), row.took.map(short).unwrap_or_default()];
        let found = found.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        let line = format!("{:what$}  {:value$}  {status}  {found}", row.what, row.value);
        lines.push(line.trim_end().to_owned());
        for (name, more) in [("why", &row.why), ("change", &row.change)] {
            if let Some(more) = more {
                lines.push(format!("{INDENT}{name:7} {more}"));
            }
        }
    }
    format!("{}\n\n{}\n", lines.join("\n"), summary(rows))
}

fn summary(rows: &[Row]) -> String {
    let count = |status| rows.iter().filter(|row| row.status == status).count();
    let counted = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{count} {what}s")),
    };
    let warnings = counted(count(Status::Warn), "warning");
    match (count(Status::Fail), warnings) {
        (0, None) => "Everything works.".to_owned(),
        (0, Some(warnings)) => format!("Everything works, with {warnings}."),
        (failures, warnings) => {
            let things = counted(failures, "thing").unwrap_or_default();
            let verb = if failures == 1 { "does" } else { "do" };
            format!(
                "{things} {verb} not work{}.",
                warnings.map(|w| format!(", and there {} {w}", be(&w))).unwrap_or_default()
            )
        }
    }
}

fn be(counted: &str) -> &'static str {
    if counted.starts_with("1 ") { "is" } else { "are" }
}

/// The word for a status, always as wide as the widest.
fn painted(status: Status, colour: bool) -> String {
    let word = format!("{:4}", status.word());
    if !colour {
        return word;
    }
    let style: Style = match status {
        Status::Ok => AnsiColor::Green.on_default(),
        Status::Note => AnsiColor::Cyan.on_default(),
        Status::Warn => AnsiColor::Yellow.on_default(),
        Status::Fail => AnsiColor::Red.on_default().bold(),
    };
    format!("{style}{word}{style:#}")
}

/// A time to three digits or so.
pub(super) fn short(took: Duration) -> String {
    let millis = took.as_secs_f64() * 1000.0;
    match millis {
        ..10.0 => format!("{millis:.1} ms"),
        ..1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_work_says_why_and_what_to_change() {
        let rows = [
            Row::new(Status::Ok, "log", "./data", "").took(Duration::from_micros(1234)),
            Row::new(Status::Fail, "model: connect", "x:1", "cannot connect").why("refused").change("LLM_BASE_URL=y"),
        ];
        assert_eq!(
            text(&rows, false),
            "log             ./data  ok    1.2 ms\n\
             model: connect  x:1     FAIL  cannot connect\n      \
                   why     refused\n      \
                   change  LLM_BASE_URL=y\n\
             \n\
             1 thing does not work.\n"
        );
        assert!(text(&rows, true).contains("\u{1b}[") && !text(&rows, false).contains('\u{1b}'));
    }

    #[test]
    fn the_last_line_sums_it_up() {
        let sum = |statuses: &[Status]| {
            let rows: Vec<_> = statuses.iter().map(|status| Row::new(*status, "x", "", "")).collect();
            summary(&rows)
        };
        assert_eq!(sum(&[Status::Ok, Status::Note]), "Everything works.");
        assert_eq!(sum(&[Status::Warn, Status::Warn]), "Everything works, with 2 warnings.");
        assert_eq!(sum(&[Status::Fail, Status::Warn]), "1 thing does not work, and there is 1 warning.");
        assert_eq!(sum(&[Status::Fail, Status::Fail]), "2 things do not work.");
    }

    #[test]
    fn times_are_short() {
        let shown = |micros| short(Duration::from_micros(micros));
        assert_eq!([shown(340), shown(45_600), shown(2_345_000)], ["0.3 ms", "46 ms", "2.3 s"]);
    }
}
