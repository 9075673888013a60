//! The feed of a single process. It ends with it: a cursor of the process before is answered with a gap.

use std::sync::Arc;

use async_trait::async_trait;
use hookseal_core::feed::{After, Interest, Position};
use hookseal_core::order::{Order, Ticket, Told};
use hookseal_core::ports::Feed;

use super::window::{Numbered, Window, new_epoch};

/// A feed in memory.
#[derive(Debug)]
pub struct MemoryFeed {
    window: Arc<Window>,
    order: Arc<Order>,
}

impl MemoryFeed {
    /// An empty feed, which wakes its watchers on `runtime`.
    pub fn start(runtime: &tokio::runtime::Handle) -> Arc<Self> {
        let window = Window::open(runtime);
        let order = Order::new({
            let window = window.clone();
            move |told| match told {
                Told::Changes(changes) => window.push(changes),
                Told::Unknown => {
                    let (epoch, number, changes) = (new_epoch(), 1, Vec::new());
                    window.take_over(vec![Numbered { epoch, number, changes }]);
                }
            }
        });
        Arc::new(Self { window, order })
    }
}

#[async_trait]
impl Feed for MemoryFeed {
    fn ticket(&self) -> Ticket {
        self.order.ticket()
    }

    fn head(&self) -> Position {
        self.window.head()
    }

    fn after(&self, position: Position) -> After {
        self.window.after(position)
    }

    async fn moved(&self, position: Position, interest: &Interest) -> Position {
        self.window.moved(position, interest).await
    }

    async fn close(&self) {}
}
