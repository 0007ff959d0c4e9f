//! The routes of the broker, read from their list.

use crate::support::sources::root;

pub(super) struct Route {
    pub(super) path: String,
    /// `post` or `get`; `options` for the path that answers that alone.
    pub(super) method: &'static str,
    pub(super) is_public: bool,
    pub(super) is_operators: bool,
    pub(super) is_exchange: bool,
}

pub(super) fn routes() -> Vec<Route> {
    let text = std::fs::read_to_string(root().join("src/http/routes.rs")).unwrap();
    let (_, list) = text.split_once("static ROUTES: [Route; ").unwrap();
    let (count, list) = list.split_once("] = [").unwrap();
    let (list, _) = list.split_once("\n];").unwrap();
    let routes: Vec<Route> = list.split("Route {").skip(1).map(route).collect();
    assert_eq!(routes.len().to_string(), count, "the list was not read");
    routes
}

fn route(text: &str) -> Route {
    let value = |name: &str| {
        let (_, rest) = text.split_once(&format!("{name}: ")).unwrap();
        rest.lines().next().unwrap().trim_end_matches(',')
    };
    let listeners = value("listeners");
    Route {
        path: value("path").trim_matches('"').to_owned(),
        method: match value("method") {
            "Method::Post" => "post",
            "Method::Get" => "get",
            "Method::Any" => "options",
            other => panic!("`{other}` is not known"),
        },
        is_public: listeners.contains("Public"),
        is_operators: listeners.contains("Operator"),
        is_exchange: value("purpose").ends_with("Exchange"),
    }
}
