//! The client SDK against whole processes: straight home, and answers that need no call.

use crate::mesh::{Mesh as Processes, scale};
use anyhow::Context as _;
use client_sdk::{Fresh, Mesh, Reply, Source};
use shop_client::{FollowCheck, follow::FollowServiceClient, member::MemberServiceClient, trade::TradeServiceClient};
use shop_proto::{follow_v1 as follow, member_v1 as member, trade_v1 as trade};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

async fn mesh(processes: &Processes) -> anyhow::Result<Mesh> {
    let seeds = [processes.bj().front.to_string(), processes.sh().front.to_string()];
    let mesh = Mesh::builder().seeds(seeds).local_logic(FollowCheck)?.build()?;
    timeout(Duration::from_secs(10), mesh.ready()).await.context("not ready")??;
    // The routers tell each other's instances a moment later.
    let members = MemberServiceClient::new(&mesh);
    timeout(Duration::from_secs(10), async {
        for cell in [processes.bj(), processes.sh()] {
            let user_id = crate::mesh::register(cell.front).await?;
            while cell_of(&members, &user_id).await? != (Some(cell.id.clone()), 0, true) {
                sleep(Duration::from_millis(20)).await;
            }
        }
        anyhow::Ok(())
    })
    .await
    .context("not direct")??;
    Ok(mesh)
}

/// Which cell answered, over how many hops, and whether at the first attempt.
async fn cell_of(members: &MemberServiceClient, user_id: &str) -> anyhow::Result<(Option<String>, u8, bool)> {
    let reply = members.get_member(member::GetMemberRequest { user_id: user_id.to_owned() }).await?;
    anyhow::ensure!(reply.value.member.is_some_and(|member| member.user_id == user_id), "another member");
    let Source::Remote { cell, attempts, hops, .. } = reply.source else {
        anyhow::bail!("not by a call of its own: {:?}", reply.source);
    };
    Ok((cell.map(|cell| cell.to_string()), hops, attempts == 1))
}

#[tokio::test]
async fn calls_go_straight_home_and_go_on_without_routers() -> anyhow::Result<()> {
    let mut processes = Processes::start().await?;
    let mesh = mesh(&processes).await?;
    let members = MemberServiceClient::new(&mesh);
    let mut users = Vec::new();
    for cell in [processes.bj(), processes.sh()] {
        for _ in 0..5 {
            users.push((cell.id.clone(), crate::mesh::register(cell.front).await?));
        }
    }
    for (cell, user_id) in &users {
        assert_eq!(cell_of(&members, user_id).await?, (Some(cell.clone()), 0, true), "{user_id}");
    }
    let routed = mesh.stats().routers.attempts;
    for cell in &mut processes.cells {
        cell.kill9_router().await?;
    }
    for _ in 0..20 {
        for (cell, user_id) in &users {
            assert_eq!(cell_of(&members, user_id).await?, (Some(cell.clone()), 0, true), "{user_id}");
        }
    }
    assert_eq!(mesh.stats().routers.attempts, routed, "no call went through a router");
    println!("figure: sdk calls without routers N={}", 20 * users.len());
    processes.shutdown().await
}

#[tokio::test]
async fn follow_checks_are_answered_inside_and_as_the_server_would() -> anyhow::Result<()> {
    let mut processes = Processes::start().await?;
    let mesh = mesh(&processes).await?;
    let follows = FollowServiceClient::new(&mesh);
    let (users, edges) = (scale(4, 100), scale(200, 10_000));
    let target = |n: u32| format!("target-{n}");
    let mut ids = Vec::new();
    for n in 0..users {
        // Registered after the client was made.
        let door = if n % 2 == 0 { processes.bj().front } else { processes.sh().front };
        let user_id = crate::mesh::register(door).await?;
        let targets: Vec<u32> = (0..2 * edges).filter(|edge| (edge + n) % 2 == 0).collect();
        for some in targets.chunks(1000) {
            let target_ids = some.iter().map(|edge| target(*edge)).collect();
            follows.batch_follow(follow::BatchFollowRequest { user_id: user_id.clone(), target_ids }).await?;
        }
        ids.push(user_id);
    }
    let ask = |n: usize, edge: u32| follow::IsFollowingRequest { user_id: ids[n].clone(), target_id: target(edge) };
    for n in 0..ids.len() {
        let inside = async {
            while !matches!(follows.is_following(ask(n, 0)).await?.source, Source::Local { .. }) {
                sleep(Duration::from_millis(5)).await;
            }
            anyhow::Ok(())
        };
        timeout(Duration::from_secs(20), inside).await.context("never answered inside")??;
    }
    // What the server finds by SQL.
    let targets: Vec<String> = (0..3 * edges).map(target).collect();
    let mut truth = Vec::new();
    for user_id in &ids {
        let mut of_user = Vec::new();
        for some in targets.chunks(1000) {
            let request = follow::BatchIsFollowingRequest { user_id: user_id.clone(), target_ids: some.to_vec() };
            let reply = follows.batch_is_following(request).fresh(Fresh::Authoritative).await?;
            assert!(!matches!(reply.source, Source::Local { .. }));
            of_user.extend(reply.value.results.iter().map(|result| result.following));
        }
        assert_eq!(of_user.iter().filter(|following| **following).count() as u32, edges);
        truth.push(of_user);
    }
    let wire = |mesh: &Mesh| mesh.stats().wire().attempts;
    let before = wire(&mesh);
    let (mut asked, cases) = (0, u64::from(scale(20_000, 1_000_000)));
    let mut random = 1_u64;
    while asked < cases {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (n, edge) = ((random >> 33) as usize % ids.len(), (random >> 13) as u32 % (3 * edges));
        let reply = follows.is_following(ask(n, edge)).await?;
        assert!(matches!(reply.source, Source::Local { stale: false, .. }), "{:?}", reply.source);
        assert_eq!(reply.value.following, truth[n][edge as usize], "user {n}, target {edge}");
        asked += 1;
        if asked % 1000 == 0 {
            // What goes on behind the caller's back has its turn.
            tokio::task::yield_now().await;
        }
    }
    // One in a thousand is compared with the server's answer, in a few rounds, behind the caller's back.
    let calls = wire(&mesh) - before;
    assert!(calls <= 8 * cases / 1000 + 10, "{calls} calls for {cases} answers");
    println!(
        "figure: follow checks inside N={cases}, all as the server finds by SQL; {calls} compared by the shadow check"
    );
    let stats = mesh.local_stats();
    let feed = stats.feeds.first().context("a feed")?;
    println!(
        "figure: snapshots N={} users, {} edges, {} bytes; the last user's data came {:.1} ms after the first call about him",
        feed.snapshots,
        users * edges,
        feed.bytes,
        feed.first_data.context("no data came")?.as_secs_f64() * 1e3,
    );

    // A write is seen by whoever brings its token.
    for turn in 0..20 {
        let user_id = ids[0].clone();
        let target_id = target(4 * edges);
        let token = if turn % 2 == 0 {
            follows
                .follow(follow::FollowRequest { user_id: user_id.clone(), target_id: target_id.clone() })
                .await?
                .token
        } else {
            let request = follow::UnfollowRequest { user_id: user_id.clone(), target_id: target_id.clone() };
            follows.unfollow(request).await?.token
        };
        let token = token.context("a write tells its token")?;
        let request = follow::IsFollowingRequest { user_id, target_id };
        let seen = follows.is_following(request).fresh(Fresh::AtLeast(token)).await?;
        assert_eq!(seen.value.following, turn % 2 == 0, "turn {turn}: {:?}", seen.source);
    }
    processes.shutdown().await
}

#[tokio::test]
async fn a_silent_stream_makes_answers_older_then_the_server_is_asked() -> anyhow::Result<()> {
    let mut processes = Processes::start().await?;
    let mesh = mesh(&processes).await?;
    let (follows, user_id) = (FollowServiceClient::new(&mesh), crate::mesh::register(processes.sh().front).await?);
    let target_id = "target".to_owned();
    follows.follow(follow::FollowRequest { user_id: user_id.clone(), target_id: target_id.clone() }).await?;
    let ask = || {
        let request = follow::IsFollowingRequest { user_id: user_id.clone(), target_id: target_id.clone() };
        follows.is_following(request).deadline(Duration::from_millis(500))
    };
    let age = |reply: &Reply<follow::IsFollowingResponse>| match reply.source {
        Source::Local { age, stale, .. } => Some((age, stale)),
        _ => None,
    };
    let inside = async || {
        while age(&ask().await?).is_none() {
            sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(10), inside()).await.context("never answered inside")??;

    // Its home stops in the middle of everything: the connection stays, and says nothing any more.
    let pid = processes.sh().services_pid().context("it runs")?;
    crate::kill::signal(pid, "STOP")?;
    let began = Instant::now();
    let (mut oldest, mut asked) = (Duration::ZERO, mesh.stats().wire().attempts);
    let error = loop {
        match ask().await {
            Ok(reply) => {
                let (age, stale) = age(&reply).context("nobody else can answer")?;
                assert!(reply.value.following && !stale && age >= oldest, "{age:?} after {oldest:?}");
                oldest = age;
                asked = mesh.stats().wire().attempts;
                sleep(Duration::from_millis(50)).await;
            }
            Err(error) => break error,
        }
    };
    let lease = Duration::from_secs(10);
    assert!(oldest <= lease, "an answer {oldest:?} old");
    assert!(mesh.stats().wire().attempts > asked, "the server was asked");
    assert_eq!(error.cell().map(|cell| cell.as_str()), Some("sh-1"), "{error}");
    println!("figure: answered inside for N={} ms of silence", began.elapsed().as_millis());
    let reply = ask().fresh(Fresh::StaleIfError(Duration::from_secs(60))).await?;
    let (late, stale) = age(&reply).context("not by the server, that is certain")?;
    assert!(reply.value.following && stale && late > lease, "{:?}", reply.source);

    crate::kill::signal(pid, "CONT")?;
    let back = async || {
        while ask().await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        inside().await
    };
    timeout(Duration::from_secs(20), back()).await.context("never answered inside again")??;
    processes.shutdown().await
}

#[tokio::test]
async fn a_cell_that_is_down_is_named_and_called_again_when_it_is_back() -> anyhow::Result<()> {
    let mut processes = Processes::start().await?;
    let mesh = mesh(&processes).await?;
    let (trade, user_id) = (TradeServiceClient::new(&mesh), crate::mesh::register(processes.sh().front).await?);
    let wallet =
        || trade.get_wallet(trade::GetWalletRequest { user_id: user_id.clone() }).deadline(Duration::from_secs(2));
    wallet().await?;
    processes.cells[1].kill9_router().await?;
    processes.cells[1].kill9_services().await?;
    let before = mesh.stats().wire().attempts;
    let (calls, began) = (200, Instant::now());
    for _ in 0..calls {
        let error = wallet().await.expect_err("its home is down");
        assert_eq!(error.code(), client_sdk::Code::Unavailable, "{error}");
        assert_eq!(error.cell().map(|cell| cell.as_str()), Some("sh-1"), "{error}");
    }
    let attempts = mesh.stats().wire().attempts - before;
    // About once a second one looks whether the cell is back: the link takes connections for it. A slow machine makes its
    // calls in more seconds.
    let looks = 2 * began.elapsed().as_secs();
    assert!(attempts <= calls + calls / 10 + looks, "{attempts} attempts for {calls} calls");
    println!("figure: attempts while a cell is down N={attempts} for {calls} calls");
    processes.cells[1].start_services().await?;
    processes.cells[1].start_router().await?;
    let back = Instant::now();
    while wallet().await.is_err() {
        anyhow::ensure!(back.elapsed() < Duration::from_secs(20), "never called again");
        sleep(Duration::from_millis(10)).await;
    }
    println!("figure: called again after N={} ms", back.elapsed().as_millis());
    processes.shutdown().await
}
