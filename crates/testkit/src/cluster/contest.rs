//! Contests: the same name is asked for at two servers at the same instant. One gets it, or none; never both.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::path;
use data_encoding::BASE64;
use reqwest::Method;
use serde_json::json;

use super::conduct::Conduct;
use super::dice::Dice;
use super::judge;
use super::lane::Place;
use super::ledger::{Act, State};
use super::speak::{Outcome, Request};
use crate::fleet::random;

/// Between two contests.
const PAUSE: Duration = Duration::from_millis(700);

/// Holds one after the other, until it is told to end.
pub(super) async fn contests(conduct: Arc<Conduct>, mut dice: Dice, places: Arc<Vec<Place>>) {
    while !conduct.is_over() {
        tokio::time::sleep(PAUSE).await;
        if let (Some(place), [first, second, ..]) = (dice.pick(&places), conduct.administrators.as_slice()) {
            let name = format!("x{}", conduct.number());
            let asked = [(); 2].map(|()| ask(&conduct, place, &name));
            let [(one, first_asks), (two, second_asks)] = asked;
            let outcomes = tokio::join!(first_asks.send(first), second_asks.send(second));
            conduct.ledger.count(0, &one, &outcomes.0);
            conduct.ledger.count(1, &two, &outcomes.1);
            let ends = [(one.to, outcomes.0), (two.to, outcomes.1)];
            if ends.iter().all(|(_, outcome)| matches!(outcome, Outcome::Done(_))) {
                conduct.ledger.complain(format!("both servers gave {name} away"));
            }
            conduct.ledger.allow(&one.thing, possible(&ends));
        }
    }
}

fn ask(conduct: &Conduct, place: &Place, name: &str) -> (Act, Request) {
    let mark = format!("{}{}", judge::MARK, conduct.number());
    let key = BASE64.encode(&random::<32>());
    let act = Act { thing: judge::below("client", place.id, name), from: None, to: Some(mark.clone()) };
    let path = path::fill(path::CLIENTS, &[&place.id.to_string()]);
    (
        act,
        Request {
            method: Method::POST,
            path,
            body: json!({"name": name, "tags": [mark], "public_key": key}),
        },
    )
}

/// Which states the name may be in.
fn possible(ends: &[(State, Outcome); 2]) -> BTreeSet<State> {
    if let Some((won, _)) = ends.iter().find(|(_, outcome)| matches!(outcome, Outcome::Done(_))) {
        return [won.clone()].into();
    }
    let unknown = ends.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Unknown(_)));
    unknown.map(|(state, _)| state.clone()).chain([None]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_winner_has_it_and_without_one_whoever_was_not_answered_may() {
        let refused = || Outcome::Refused { status: 409, why: String::new() };
        let unknown = || Outcome::Unknown(String::new());
        let of = |one, two| possible(&[(Some("a".to_owned()), one), (Some("b".to_owned()), two)]);
        let states =
            |of: &[Option<&str>]| of.iter().map(|state| state.map(str::to_owned)).collect::<BTreeSet<_>>();
        assert_eq!(of(refused(), Outcome::Done(json!({}))), states(&[Some("b")]));
        assert_eq!(of(unknown(), Outcome::Done(json!({}))), states(&[Some("b")]));
        assert_eq!(of(unknown(), refused()), states(&[None, Some("a")]));
        assert_eq!(of(refused(), refused()), states(&[None]));
    }
}
