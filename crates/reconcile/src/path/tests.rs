//! Paths as stories: observations and time in, actions out.
