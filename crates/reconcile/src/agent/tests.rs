//! The agent as stories.
