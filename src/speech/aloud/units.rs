//! Numbers with units: the unit in words, in the number of the number.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::language::Language;

/// A unit: as it is written; in English for one and for more; in German; in Chinese.
type Row = (&'static str, [&'static str; 2], [&'static str; 2], &'static str);

const UNITS: &[Row] = &[
    ("km/h", ["kilometer per hour", "kilometers per hour"], ["Kilometer pro Stunde"; 2], "公里每小时"),
    ("m/s", ["meter per second", "meters per second"], ["Meter pro Sekunde"; 2], "米每秒"),
    ("mph", ["mile per hour", "miles per hour"], ["Meile pro Stunde", "Meilen pro Stunde"], "英里每小时"),
    ("km²", ["square kilometer", "square kilometers"], ["Quadratkilometer"; 2], "平方公里"),
    ("m²", ["square meter", "square meters"], ["Quadratmeter"; 2], "平方米"),
    ("cm²", ["square centimeter", "square centimeters"], ["Quadratzentimeter"; 2], "平方厘米"),
    ("m³", ["cubic meter", "cubic meters"], ["Kubikmeter"; 2], "立方米"),
    ("cm³", ["cubic centimeter", "cubic centimeters"], ["Kubikzentimeter"; 2], "立方厘米"),
    ("km", ["kilometer", "kilometers"], ["Kilometer"; 2], "公里"),
    ("m", ["meter", "meters"], ["Meter"; 2], "米"),
    ("cm", ["centimeter", "centimeters"], ["Zentimeter"; 2], "厘米"),
    ("mm", ["millimeter", "millimeters"], ["Millimeter"; 2], "毫米"),
    ("µm", ["micrometer", "micrometers"], ["Mikrometer"; 2], "微米"),
    ("nm", ["nanometer", "nanometers"], ["Nanometer"; 2], "纳米"),
    ("ft", ["foot", "feet"], ["Fuß"; 2], "英尺"),
    ("mi", ["mile", "miles"], ["Meile", "Meilen"], "英里"),
    ("ha", ["hectare", "hectares"], ["Hektar"; 2], "公顷"),
    ("kg", ["kilogram", "kilograms"], ["Kilogramm"; 2], "公斤"),
    ("g", ["gram", "grams"], ["Gramm"; 2], "克"),
    ("mg", ["milligram", "milligrams"], ["Milligramm"; 2], "毫克"),
    ("µg", ["microgram", "micrograms"], ["Mikrogramm"; 2], "微克"),
    ("lb", ["pound", "pounds"], ["Pfund"; 2], "磅"),
    ("lbs", ["pound", "pounds"], ["Pfund"; 2], "磅"),
    ("oz", ["ounce", "ounces"], ["Unze", "Unzen"], "盎司"),
    ("l", ["liter", "liters"], ["Liter"; 2], "升"),
    ("L", ["liter", "liters"], ["Liter"; 2], "升"),
    ("ml", ["milliliter", "milliliters"], ["Milliliter"; 2], "毫升"),
    ("mL", ["milliliter", "milliliters"], ["Milliliter"; 2], "毫升"),
    ("h", ["hour", "hours"], ["Stunde", "Stunden"], "小时"),
    ("hrs", ["hour", "hours"], ["Stunde", "Stunden"], "小时"),
    ("min", ["minute", "minutes"], ["Minute", "Minuten"], "分钟"),
    ("s", ["second", "seconds"], ["Sekunde", "Sekunden"], "秒"),
    ("ms", ["millisecond", "milliseconds"], ["Millisekunde", "Millisekunden"], "毫秒"),
    ("µs", ["microsecond", "microseconds"], ["Mikrosekunde", "Mikrosekunden"], "微秒"),
    ("ns", ["nanosecond", "nanoseconds"], ["Nanosekunde", "Nanosekunden"], "纳秒"),
    ("Hz", ["hertz"; 2], ["Hertz"; 2], "赫兹"),
    ("kHz", ["kilohertz"; 2], ["Kilohertz"; 2], "千赫"),
    ("MHz", ["megahertz"; 2], ["Megahertz"; 2], "兆赫"),
    ("GHz", ["gigahertz"; 2], ["Gigahertz"; 2], "吉赫"),
    ("W", ["watt", "watts"], ["Watt"; 2], "瓦"),
    ("kW", ["kilowatt", "kilowatts"], ["Kilowatt"; 2], "千瓦"),
    ("MW", ["megawatt", "megawatts"], ["Megawatt"; 2], "兆瓦"),
    ("kWh", ["kilowatt hour", "kilowatt hours"], ["Kilowattstunde", "Kilowattstunden"], "千瓦时"),
    ("V", ["volt", "volts"], ["Volt"; 2], "伏"),
    ("mA", ["milliampere", "milliamperes"], ["Milliampere"; 2], "毫安"),
    ("KB", ["kilobyte", "kilobytes"], ["Kilobyte"; 2], "千字节"),
    ("kB", ["kilobyte", "kilobytes"], ["Kilobyte"; 2], "千字节"),
    ("MB", ["megabyte", "megabytes"], ["Megabyte"; 2], "兆字节"),
    ("GB", ["gigabyte", "gigabytes"], ["Gigabyte"; 2], "吉字节"),
    ("TB", ["terabyte", "terabytes"], ["Terabyte"; 2], "太字节"),
    ("Mbit/s", ["megabit per second", "megabits per second"], ["Megabit pro Sekunde"; 2], "兆比特每秒"),
    ("Gbit/s", ["gigabit per second", "gigabits per second"], ["Gigabit pro Sekunde"; 2], "吉比特每秒"),
    ("°C", ["degree Celsius", "degrees Celsius"], ["Grad Celsius"; 2], "摄氏度"),
    ("°F", ["degree Fahrenheit", "degrees Fahrenheit"], ["Grad Fahrenheit"; 2], "华氏度"),
    ("°", ["degree", "degrees"], ["Grad"; 2], "度"),
    ("%", ["percent"; 2], ["Prozent"; 2], "%"),
    ("‰", ["per mille"; 2], ["Promille"; 2], "‰"),
    ("€", ["euro", "euros"], ["Euro"; 2], "欧元"),
];

static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let mut names: Vec<_> = UNITS.iter().map(|(written, ..)| regex::escape(written)).collect();
    // The longest first: `km/h` is not `km`.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let number = r"\d+(?:[.,]\d+)*";
    Regex::new(&format!(
        r"([−±~≈+-] ?)?({number})(?:( ?[–-] ?| to | bis )({number}))?([ \u{{a0}}\u{{202f}}]?)({})",
        names.join("|")
    ))
    .expect("a pattern")
});

/// The sentence with units as they are read aloud.
pub(super) fn read(sentence: &str, language: Language) -> String {
    let replaced = PATTERN.replace_all(sentence, |found: &Captures<'_>| {
        let whole = found.get(0).expect("the whole");
        if stands_alone(sentence, whole.start(), whole.end(), &found[6]) {
            in_words(found, language)
        } else {
            whole.as_str().to_owned()
        }
    });
    replaced.into_owned()
}

/// Whether the number is not the end of a word, nor the unit the beginning of one.
fn stands_alone(sentence: &str, start: usize, end: usize, unit: &str) -> bool {
    // Written Chinese has no spaces.
    let part = |c: char| c.is_alphanumeric() && !is_han(c);
    let before = sentence[..start].chars().next_back();
    let after = sentence[end..].chars().next();
    let is_word = unit.chars().next_back().is_some_and(char::is_alphabetic);
    let before_fits = !before.is_some_and(|c| part(c) || matches!(c, '.' | ',' | '-' | '/' | ':' | '$' | '£'));
    before_fits && !after.is_some_and(|c| (is_word && part(c)) || matches!(c, '²' | '³' | '/' | '^'))
}

const fn is_han(c: char) -> bool {
    matches!(c as u32, 0x3400..=0x9FFF | 0x20000..=0x3FFFF)
}

fn in_words(found: &Captures<'_>, language: Language) -> String {
    let group = |index: usize| found.get(index).map(|group| group.as_str());
    let (first, last, written) = (&found[2], group(4), &found[6]);
    let Some((_, english, german, chinese)) = UNITS.iter().find(|(known, ..)| known == &written) else {
        return found[0].to_owned();
    };
    let sign = match group(1).map(str::trim) {
        Some("−" | "-") => language.pick("minus ", "minus ", "零下"),
        Some("±") => language.pick("plus or minus ", "plus minus ", "正负"),
        Some("~" | "≈") => language.pick("about ", "etwa ", "约"),
        Some("+") => language.pick("plus ", "plus ", "正"),
        _ => "",
    };
    let number = match last {
        Some(last) => format!("{first}{}{last}", language.to()),
        None => first.to_owned(),
    };
    let one = usize::from(!(last.is_none() && first == "1"));
    match language {
        Language::English => format!("{sign}{number} {}", english[one]),
        Language::German => format!("{sign}{number} {}", german[one]),
        // The share is read before the number.
        Language::Chinese if written == "%" => format!("{sign}百分之{number}"),
        Language::Chinese if written == "‰" => format!("{sign}千分之{number}"),
        Language::Chinese => format!("{sign}{number}{chinese}"),
    }
}
