//! Tekton. A TaskRun has no environment of its own: what is known comes by variables that our Task sets, and from `.git`.

use std::path::Path;

use super::facts::{Defaults, Facts, Found};
use super::outputs::{self, CiError, Report, Written};
use super::stated::stated;
use super::style::LogStyle;
use super::{Around, Ci};

/// Where a step's results are collected.
pub(super) const RESULTS: &str = "/tekton/results";

/// Tekton.
#[derive(Debug)]
pub(super) struct Tekton;

impl Ci for Tekton {
    fn name(&self) -> &'static str {
        "tekton"
    }

    fn facts(&self, around: &Around) -> Facts {
        stated(around)
    }

    fn defaults(&self, _around: &Around) -> Defaults {
        Defaults::default()
    }

    fn style(&self) -> LogStyle {
        LogStyle::Plain
    }

    fn places(&self, _around: &Around) -> Vec<Found> {
        let is_there = Path::new(RESULTS).is_dir();
        let place = is_there.then(|| Found::new(RESULTS, "Tekton's results"));
        place.into_iter().collect()
    }

    fn publish(&self, around: &Around, report: &Report) -> Result<Vec<Written>, CiError> {
        let directory = Path::new(RESULTS);
        if report.failure.is_some() || !directory.is_dir() {
            return Ok(Vec::new());
        }
        Ok(vec![outputs::write(
            outputs::Format::Tekton,
            directory,
            report,
            around,
        )?])
    }
}
