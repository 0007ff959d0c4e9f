//! A name service that lies, and remembers what it was asked.

use std::io;
use std::net::IpAddr;
use std::sync::Mutex;

use async_trait::async_trait;
use hallpass::token::keys::remote::Lookup;

/// Gives the first answer to the first question, and so on; the last one stays.
#[derive(Debug)]
pub(crate) struct FakeResolver {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl FakeResolver {
    /// Knows no name.
    pub(crate) fn empty() -> Self {
        Self::answering(&[&[]])
    }

    pub(crate) fn answering(answers: &[&[&str]]) -> Self {
        let parsed = answers.iter().map(|answer| {
            let addresses = answer.iter().map(|text| text.parse().unwrap());
            addresses.collect()
        });
        Self {
            answers: Mutex::new(parsed.collect()),
            asked: Mutex::default(),
        }
    }

    /// The names that were asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Lookup for FakeResolver {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap().push(host.to_owned());
        let mut answers = self.answers.lock().unwrap();
        Ok(if answers.len() > 1 {
            answers.remove(0)
        } else {
            answers[0].clone()
        })
    }
}
