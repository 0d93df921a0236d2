//! The words for commands and signs of LaTeX.

/// In English, German and Chinese.
pub(super) type Word = (&'static str, &'static str, &'static str);

/// What a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word.
    Word,
    /// How something looks, and nothing to read.
    Nothing,
    /// Two arguments, one over the other.
    Fraction,
    /// A root of its argument.
    Root,
    /// With bounds below and above.
    Range,
    /// Text, as it stands.
    Text,
}

const SAME: Word = ("", "", "");

const COMMANDS: &[(&str, Kind, Word)] = &[
    ("frac", Kind::Fraction, ("over", "durch", "分之")),
    ("dfrac", Kind::Fraction, ("over", "durch", "分之")),
    ("tfrac", Kind::Fraction, ("over", "durch", "分之")),
    ("sqrt", Kind::Root, ("the square root of", "Wurzel aus", "根号")),
    ("sum", Kind::Range, ("sum", "die Summe", "和")),
    ("prod", Kind::Range, ("product", "das Produkt", "积")),
    ("int", Kind::Range, ("integral", "das Integral", "积分")),
    ("lim", Kind::Range, ("limit", "der Grenzwert", "极限")),
    ("text", Kind::Text, SAME),
    ("textbf", Kind::Text, SAME),
    ("mathrm", Kind::Text, SAME),
    ("operatorname", Kind::Text, SAME),
    ("left", Kind::Nothing, SAME),
    ("right", Kind::Nothing, SAME),
    ("big", Kind::Nothing, SAME),
    ("Big", Kind::Nothing, SAME),
    ("quad", Kind::Nothing, SAME),
    ("qquad", Kind::Nothing, SAME),
    ("displaystyle", Kind::Nothing, SAME),
    ("limits", Kind::Nothing, SAME),
    ("mathbf", Kind::Nothing, SAME),
    ("mathbb", Kind::Nothing, SAME),
    ("mathcal", Kind::Nothing, SAME),
    ("boxed", Kind::Nothing, SAME),
    ("vec", Kind::Nothing, SAME),
    ("times", Kind::Word, ("times", "mal", "乘以")),
    ("cdot", Kind::Word, ("times", "mal", "乘以")),
    ("div", Kind::Word, ("divided by", "geteilt durch", "除以")),
    ("pm", Kind::Word, ("plus or minus", "plus minus", "正负")),
    ("mp", Kind::Word, ("minus or plus", "minus plus", "负正")),
    ("le", Kind::Word, ("is at most", "kleiner gleich", "小于等于")),
    ("leq", Kind::Word, ("is at most", "kleiner gleich", "小于等于")),
    ("ge", Kind::Word, ("is at least", "größer gleich", "大于等于")),
    ("geq", Kind::Word, ("is at least", "größer gleich", "大于等于")),
    ("ne", Kind::Word, ("is not equal to", "ungleich", "不等于")),
    ("neq", Kind::Word, ("is not equal to", "ungleich", "不等于")),
    ("approx", Kind::Word, ("is about", "ungefähr gleich", "约等于")),
    ("equiv", Kind::Word, ("is equivalent to", "identisch mit", "恒等于")),
    ("propto", Kind::Word, ("is proportional to", "proportional zu", "正比于")),
    ("infty", Kind::Word, ("infinity", "unendlich", "无穷大")),
    ("to", Kind::Word, ("to", "gegen", "趋于")),
    ("rightarrow", Kind::Word, ("to", "nach", "到")),
    ("Rightarrow", Kind::Word, ("implies", "folgt", "推出")),
    ("implies", Kind::Word, ("implies", "folgt", "推出")),
    ("iff", Kind::Word, ("if and only if", "genau dann, wenn", "当且仅当")),
    ("in", Kind::Word, ("in", "Element von", "属于")),
    ("notin", Kind::Word, ("not in", "nicht Element von", "不属于")),
    ("subset", Kind::Word, ("is a subset of", "Teilmenge von", "包含于")),
    ("cup", Kind::Word, ("union", "vereinigt mit", "并")),
    ("cap", Kind::Word, ("intersection", "geschnitten mit", "交")),
    ("forall", Kind::Word, ("for all", "für alle", "对于任意")),
    ("exists", Kind::Word, ("there is", "es gibt", "存在")),
    ("partial", Kind::Word, ("partial", "partiell", "偏")),
    ("nabla", Kind::Word, ("nabla", "Nabla", "纳布拉")),
    ("circ", Kind::Word, ("°", "°", "°")),
    ("prime", Kind::Word, ("prime", "Strich", "撇")),
    ("ldots", Kind::Word, ("and so on", "und so weiter", "等等")),
    ("cdots", Kind::Word, ("and so on", "und so weiter", "等等")),
    ("dots", Kind::Word, ("and so on", "und so weiter", "等等")),
    ("sin", Kind::Word, ("sine", "Sinus", "正弦")),
    ("cos", Kind::Word, ("cosine", "Kosinus", "余弦")),
    ("tan", Kind::Word, ("tangent", "Tangens", "正切")),
    ("log", Kind::Word, ("log", "Logarithmus", "对数")),
    ("ln", Kind::Word, ("natural log", "natürlicher Logarithmus", "自然对数")),
    ("exp", Kind::Word, ("exp", "exp", "指数")),
    ("alpha", Kind::Word, ("alpha", "Alpha", "阿尔法")),
    ("beta", Kind::Word, ("beta", "Beta", "贝塔")),
    ("gamma", Kind::Word, ("gamma", "Gamma", "伽马")),
    ("delta", Kind::Word, ("delta", "Delta", "德尔塔")),
    ("epsilon", Kind::Word, ("epsilon", "Epsilon", "艾普西龙")),
    ("varepsilon", Kind::Word, ("epsilon", "Epsilon", "艾普西龙")),
    ("theta", Kind::Word, ("theta", "Theta", "西塔")),
    ("lambda", Kind::Word, ("lambda", "Lambda", "兰姆达")),
    ("mu", Kind::Word, ("mu", "My", "缪")),
    ("pi", Kind::Word, ("pi", "Pi", "派")),
    ("rho", Kind::Word, ("rho", "Rho", "柔")),
    ("sigma", Kind::Word, ("sigma", "Sigma", "西格玛")),
    ("tau", Kind::Word, ("tau", "Tau", "陶")),
    ("phi", Kind::Word, ("phi", "Phi", "斐")),
    ("varphi", Kind::Word, ("phi", "Phi", "斐")),
    ("omega", Kind::Word, ("omega", "Omega", "欧米伽")),
    ("Delta", Kind::Word, ("delta", "Delta", "德尔塔")),
    ("Omega", Kind::Word, ("omega", "Omega", "欧米伽")),
    ("Sigma", Kind::Word, ("sigma", "Sigma", "西格玛")),
];

/// What a command is, and its word.
pub(super) fn command(name: &str) -> Option<(Kind, Word)> {
    COMMANDS.iter().find(|(known, ..)| *known == name).map(|(_, kind, word)| (*kind, *word))
}

/// The word for a sign. `None`: it is read as it is.
pub(super) const fn sign(c: char) -> Option<Word> {
    Some(match c {
        '+' => ("plus", "plus", "加"),
        '-' | '−' => ("minus", "minus", "减"),
        '*' | '×' | '·' => ("times", "mal", "乘以"),
        '/' | '÷' => ("over", "durch", "除以"),
        '=' => ("equals", "gleich", "等于"),
        '<' => ("is less than", "kleiner als", "小于"),
        '>' => ("is greater than", "größer als", "大于"),
        '≤' => ("is at most", "kleiner gleich", "小于等于"),
        '≥' => ("is at least", "größer gleich", "大于等于"),
        '≠' => ("is not equal to", "ungleich", "不等于"),
        '≈' => ("is about", "ungefähr gleich", "约等于"),
        '±' => ("plus or minus", "plus minus", "正负"),
        '∞' => ("infinity", "unendlich", "无穷大"),
        '√' => ("the square root of", "Wurzel aus", "根号"),
        'π' => ("pi", "Pi", "派"),
        '!' => ("factorial", "Fakultät", "的阶乘"),
        '\'' => ("prime", "Strich", "撇"),
        _ => return None,
    })
}
