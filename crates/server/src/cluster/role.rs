//! What a server does beside the others of its database: it leads, or it follows.
//!
//! Not for finding out which (that is `keeper`). It keeps true that whoever waits for a role works for as long as it lasts.

use tokio::sync::watch;

use super::Holder;

/// What this server does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It alone speaks to agents, and does what must be done once.
    Leads,
    /// It answers people and hands agents' requests on.
    Follows {
        /// Who leads, as far as is known.
        leader: Option<Holder>,
    },
}

impl Role {
    /// Whether it leads.
    pub const fn leads(&self) -> bool {
        match self {
            Self::Leads => true,
            Self::Follows { .. } => false,
        }
    }
}

/// Whether it leads, for those who do not care who else does. Follows the role until nobody listens any more.
pub(crate) fn leads(mut role: watch::Receiver<Role>) -> watch::Receiver<bool> {
    let (tell, told) = watch::channel(role.borrow_and_update().leads());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                changed = role.changed() => if changed.is_err() {
                    return;
                },
                () = tell.closed() => return,
            }
            let leads = role.borrow_and_update().leads();
            tell.send_if_modified(|before| std::mem::replace(before, leads) != leads);
        }
    });
    told
}

/// Works whenever this server leads, from the beginning each time, and not otherwise. Ends when the work ends by itself, or
/// nobody says any more who leads.
pub(crate) async fn while_leading<F: Future<Output = ()>>(
    mut role: watch::Receiver<Role>,
    work: impl Fn() -> F,
) {
    loop {
        if role.wait_for(Role::leads).await.is_err() {
            return;
        }
        tokio::select! {
            biased;
            over = role.wait_for(|role| !role.leads()) => if over.is_err() {
                return;
            },
            () = work() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_begins_with_each_lead_and_ends_with_it() {
        let (set, role) = watch::channel(Role::Follows { leader: None });
        let (begun, ended) = (AtomicU32::new(0), AtomicU32::new(0));
        struct Ends<'a>(&'a AtomicU32);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let counts = || (begun.load(Ordering::Relaxed), ended.load(Ordering::Relaxed));
        let work = || async {
            let _ends = Ends(&ended);
            begun.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        };
        let steps = async {
            let steps =
                [(Role::Leads, (1, 0)), (Role::Follows { leader: None }, (1, 1)), (Role::Leads, (2, 1))];
            for (role, expected) in steps {
                set.send_replace(role);
                while counts() != expected {
                    tokio::task::yield_now().await;
                }
            }
            drop(set);
        };
        tokio::join!(while_leading(role, work), steps);
        assert_eq!(counts(), (2, 2));
    }
}
