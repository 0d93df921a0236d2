//! Reading lists, page by page.

use serde_json::Value;

use super::http::Api;

/// The ids of a page, in its order.
pub fn ids(page: &Value) -> Vec<String> {
    let data = page["data"].as_array().expect("a list");
    data.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

/// All items of a conversation, oldest first.
pub async fn conversation_items(api: &Api, conversation: &str) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    loop {
        let after = items.last().map_or_else(String::new, |item| format!("&after={}", item["id"].as_str().unwrap()));
        let page = api.get(&format!("/v1/conversations/{conversation}/items?order=asc&limit=100{after}")).await.ok();
        items.extend(page["data"].as_array().expect("a list").iter().cloned());
        if page["has_more"] == false {
            return items;
        }
    }
}
