use std::pin::pin;
use std::task::Poll;

/// Polls a future so many times, and gives it up the next time that it could go on: as when a client goes away.
pub async fn give_up_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), polls);
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}
