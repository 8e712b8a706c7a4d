//! What tokens cost, roughly: an agent says its dollars only at its end, and a budget has to hold before that.
//!
//! List prices per million tokens of the dearest model of each family; of one that is not known the dearest of all, so that an
//! estimate errs towards stopping early. The agent's own figure replaces the estimate when it comes.

use super::micros;
use crate::run::RunUsage;

/// US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Price {
    input: f64,
    cache_read: f64,
    output: f64,
}

const OPUS: Price = Price { input: 18.75, cache_read: 1.5, output: 75.0 };
const SONNET: Price = Price { input: 3.75, cache_read: 0.3, output: 15.0 };
const HAIKU: Price = Price { input: 1.25, cache_read: 0.1, output: 5.0 };

/// What `usage` cost by `model`, in millionths of a US dollar: the agent's own figure where there is one. Tokens that are
/// not from the cache count as written to it, which is the dearer.
pub fn cost_micros(usage: &RunUsage, model: Option<&str>) -> i64 {
    if let Some(cost) = usage.cost_usd {
        return micros(cost);
    }
    let price = of_model(model.unwrap_or_default());
    let cached = usage.cache_read_tokens.unwrap_or(0);
    let fresh = usage.input_tokens.unwrap_or(0).saturating_sub(cached);
    let output = usage.output_tokens.unwrap_or(0);
    let dollars = [(fresh, price.input), (cached, price.cache_read), (output, price.output)]
        .into_iter()
        .map(|(tokens, per_million)| as_float(tokens) * per_million / 1e6)
        .sum();
    micros(dollars)
}

fn of_model(model: &str) -> Price {
    let model = model.to_ascii_lowercase();
    if model.contains("haiku") {
        HAIKU
    } else if model.contains("sonnet") {
        SONNET
    } else {
        OPUS
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
const fn as_float(tokens: u64) -> f64 {
    tokens as f64
}
