//! Where a token is shown once and a session begins.

use maud::{DOCTYPE, Markup, html};

/// The form; `problem` is what was wrong with the last try, `next` where to go on.
pub(crate) fn page(problem: Option<&str>, next: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (super::head("Log in · Orch"))
            body {
                main id="main" class="login panel" {
                    h1 { "Orch" }
                    form method="post" action="/login" {
                        input type="hidden" name="next" value=(next);
                        label for="token" { "Token of the console (ORCH_CONSOLE_TOKEN, or ORCH_CONSOLE_READ_TOKEN to look only)" }
                        input id="token" name="token" type="password" autocomplete="current-password" required autofocus
                            aria-describedby=[problem.map(|_| "problem")];
                        @if let Some(problem) = problem { p id="problem" class="problem" role="alert" { (problem) } }
                        button class="main" { "Log in" }
                    }
                }
            }
        }
    }
}
