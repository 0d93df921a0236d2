//! A sentence as a person reads it aloud: formulas, units, times and telephone numbers in words, marks of sources not at all.
//! In English, German and Chinese; of other languages only the marks of sources are left out.
//!
//! Pure: the same sentences in the same order are read in the same way, so that a takeover reads the reply in the same
//! way. Numbers stay digits: voices read those well. What is in doubt stays as it is written.

mod citations;
mod formula;
mod language;
mod phone;
mod times;
mod units;

use language::Language;

/// Reads the sentences of one text, in order.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// By the sentences so far: a short one may not show it.
    language: Option<Language>,
}

impl Reader {
    /// The next sentence, as it is read aloud.
    pub(crate) fn read(&mut self, sentence: &str) -> String {
        self.language = Language::of(sentence).or(self.language);
        let text = citations::without(sentence);
        let Some(language) = self.language else { return text };
        let text = formula::read_all(&text, language);
        let text = phone::read(&text, language);
        let text = times::read(&text, language);
        units::read(&text, language)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sentences and how they are read, each by itself but in the language of the first words.
    #[track_caller]
    fn all(begin: &str, cases: &[(&str, &str)]) {
        for (written, read) in cases {
            let mut reader = Reader::default();
            reader.read(begin);
            assert_eq!(reader.read(written), *read, "{written:?}");
        }
    }

    #[test]
    fn english() {
        all(
            "This is the beginning of it.",
            &[
                ("The lake is 5 km long and 1 km wide.", "The lake is 5 kilometers long and 1 kilometer wide."),
                ("It is −3 °C, up to 25.5°C.", "It is minus 3 degrees Celsius, up to 25.5 degrees Celsius."),
                ("Drive 60–80 km/h.", "Drive 60 to 80 kilometers per hour."),
                ("About 50% of 10 m² is 5 m².", "About 50 percent of 10 square meters is 5 square meters."),
                ("Meet at 14:30, or 9:05, or 10:00.", "Meet at 14 30, or 9 oh 5, or 10 o'clock."),
                ("We open 9:00–17:30.", "We open 9 o'clock to 17 30."),
                ("See you at 2:30 pm.", "See you at 2 30 p.m."),
                ("Call +1 555 123 4567 now.", "Call plus 1, 5 5 5, 1 2 3, 4 5 6 7 now."),
                ("Call (555) 123-4567.", "Call 5 5 5, 1 2 3, 4 5 6 7."),
                ("So $E = mc^2$ holds.", "So E equals m c squared holds."),
                (
                    r"And $\frac{a+b}{2} \leq \sqrt{x}$ here.",
                    "And a plus b over 2 is at most the square root of x here.",
                ),
                ("It is known (Smith et al., 2020; Doe & Roe, 2019).", "It is known."),
                ("It is known【4†source】.", "It is known."),
                ("A fact.¹²", "A fact."),
                ("All of its 10 km² is his.", "All of its 10 square kilometers is his."),
                ("It weighs 2 kg and 500 g, takes 3 min.", "It weighs 2 kilograms and 500 grams, takes 3 minutes."),
                ("A 16 GB disk at 3.2 GHz.", "A 16 gigabytes disk at 3.2 gigahertz."),
            ],
        );
    }

    #[test]
    fn german() {
        all(
            "Das ist der Anfang, und es geht weiter.",
            &[
                ("Der See ist 5 km lang und 1,5 m tief.", "Der See ist 5 Kilometer lang und 1,5 Meter tief."),
                ("Um 14:30 Uhr, nicht um 9.05 Uhr.", "Um 14 Uhr 30, nicht um 9 Uhr 5."),
                ("Von 10:00 bis 12:15.", "Von 10 Uhr bis 12 Uhr 15."),
                ("Es sind 20–25 °C.", "Es sind 20 bis 25 Grad Celsius."),
                ("Rund 50 % davon.", "Rund 50 Prozent davon."),
                ("Tempo 130 km/h in 1 h.", "Tempo 130 Kilometer pro Stunde in 1 Stunde."),
                ("Ruf 030/1234567 an.", "Ruf 0 3 0, 1 2 3 4 5 6 7 an."),
                ("Ruf +49 170 1234567 an.", "Ruf plus 4 9, 1 7 0, 1 2 3 4 5 6 7 an."),
                (r"Es gilt $\frac{1}{2} \cdot x^3 = \alpha$.", "Es gilt 1 durch 2 mal x hoch 3 gleich Alpha."),
                ("Das weiß man (Meier und Müller, 2019).", "Das weiß man."),
                ("Am 3. Mai 2020 für 5 €.", "Am 3. Mai 2020 für 5 Euro."),
            ],
        );
    }

    #[test]
    fn chinese() {
        all(
            "这是开头。",
            &[
                ("湖长5 km，深1.5m。", "湖长5公里，深1.5米。"),
                ("今天25°C，湿度50%。", "今天25摄氏度，湿度百分之50。"),
                ("14:30开会，9:05出发，10:00到。", "14点30分开会，9点零5分出发，10点到。"),
                ("请打138 1234 5678。", "请打1 3 8, 1 2 3 4, 5 6 7 8。"),
                (r"所以$\frac{a}{2}=x^2$。", "所以2分之a等于x的平方。"),
                ("大约20–25 kg。", "大约20到25公斤。"),
                ("已知【1†来源】。", "已知。"),
            ],
        );
    }

    #[test]
    fn what_only_looks_like_it_stays_as_it_is() {
        all(
            "This is the beginning of it.",
            &[
                ("It costs $5 and $10, or $29.99.", "It costs $5 and $10, or $29.99."),
                ("The ratio is 16:9, and the score was 3:2.", "The ratio is 16:9, and the score was 3:2."),
                ("On 2020-01-02 at 192.168.10.20.", "On 2020-01-02 at 192.168.10.20."),
                ("Room 5 in the house, 5 more.", "Room 5 in the house, 5 more."),
                ("He was there (born in Berlin, 2020) too.", "He was there (born in Berlin, 2020) too."),
                ("Version 2.5.1 of 1,000,000.", "Version 2.5.1 of 1,000,000."),
                ("Set 25:10, 12:75 or 12:345.", "Set 25:10, 12:75 or 12:345."),
                ("The part X555-123-4567 and 555-123-45678.", "The part X555-123-4567 and 555-123-45678."),
                ("ISBN 978-3-16-148410-0 it is.", "ISBN 978-3-16-148410-0 it is."),
                ("The m and the 5kmx and A5 m.", "The m and the 5kmx and A5 m."),
                ("Use $HOME and $PATH there.", "Use $HOME and $PATH there."),
                ("An x² stays.", "An x² stays."),
            ],
        );
        all("C'est le début.", &[("Il fait 5 km à 14:30.", "Il fait 5 km à 14:30.")]);
    }

    #[test]
    fn a_short_sentence_is_in_the_language_of_those_before_it() {
        let mut reader = Reader::default();
        assert_eq!(reader.read("5 km."), "5 km.", "nobody knows yet");
        reader.read("Das ist nicht weit.");
        assert_eq!(reader.read("5 km."), "5 Kilometer.");
        reader.read("And this is English now.");
        assert_eq!(reader.read("5 km."), "5 kilometers.");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_empty(text in "(\\$|\\\\[a-z]{0,6}|\\{|\\}|\\^|_|[0-9:+.,–/ ()-]|km|°C|%|的|und the|[a-z]){0,60}") {
            let mut reader = Reader::default();
            reader.read("This is the beginning.");
            let _ = reader.read(&text);
        }

        #[test]
        fn words_are_never_lost(words in prop::collection::vec("[a-z]{2,9}", 1..20)) {
            let text = words.join(" ");
            let mut reader = Reader::default();
            prop_assert_eq!(reader.read(&text), text);
        }
    }
}
