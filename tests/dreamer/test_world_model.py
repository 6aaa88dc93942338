import torch

from dreamer.math_ops import symlog
from dreamer.world_model import ScalarHead, WorldModel
from tests.dreamer.tiny import filled_buffer, noise_source, tiny_agent, tiny_config, tiny_updater


def test_encoding_goes_through_symlog_of_normalised_observations() -> None:
    model = tiny_agent().world_model
    observations = torch.randn(500, 3, generator=noise_source()) * torch.tensor([1.0, 50.0, 0.1]) + 7.0
    model.fit_normalizer(observations)
    normalised = model.normalized(observations)
    torch.testing.assert_close(normalised.mean(0), torch.zeros(3), atol=1e-3, rtol=0.0)
    torch.testing.assert_close(normalised.std(0), torch.ones(3), atol=1e-3, rtol=0.0)
    torch.testing.assert_close(model.encode(observations), model.encoder(symlog(normalised)))


def test_constant_inputs_do_not_blow_up_the_normaliser() -> None:
    model = tiny_agent().world_model
    model.fit_normalizer(torch.zeros(10, 3))
    assert torch.isfinite(model.normalized(torch.ones(1, 3))).all()


def test_loss_is_the_sum_of_its_four_parts() -> None:
    agent = tiny_agent()
    batch = filled_buffer(agent.config).sample()
    loss, posteriors, metrics = agent.world_model.compute_loss(batch, None, noise_source())
    parts = [metrics[f"loss/{name}"] for name in ("recon", "reward", "continue", "kl")]
    torch.testing.assert_close(loss, torch.stack(parts).sum())
    assert posteriors["h"].shape == (6, 4, 16)


def test_first_reward_predictions_are_exactly_zero() -> None:
    agent = tiny_agent()
    model, x = agent.world_model, torch.randn(9, 32, generator=noise_source())
    assert model.reward_head.mean(model.reward_head(x)).eq(0.0).all()
    assert agent.behavior.value.mean(agent.behavior.value(x)).eq(0.0).all()


def test_mse_heads_are_plain_squared_errors() -> None:
    head = ScalarHead(4, tiny_config(model={"kind": "seed"}))
    x, target = torch.randn(5, 4, generator=noise_source()), torch.full((5,), 2.0)
    output = head(x)
    torch.testing.assert_close(head.loss(output, target), (head.mean(output) - 2.0) ** 2)


def test_mse_decoder_predicts_symlog_observations() -> None:
    config = tiny_config(model={"kind": "seed", "observed": False})
    model = WorldModel(config, 3, 2)
    state = model.dynamics.initial(2)
    with torch.no_grad():
        model.obs_decoder[-1].weight.zero_()
        model.obs_decoder[-1].bias.copy_(symlog(torch.tensor([1.0, -20.0, 0.5])))
    torch.testing.assert_close(model.decode(state)[0], torch.tensor([1.0, -20.0, 0.5]))


def test_the_squared_error_is_a_sum_over_the_numbers() -> None:
    """A mean over them is worth so little beside the KL that nothing would be known."""
    agent = tiny_agent(model={"kind": "seed", "observed": False})
    batch = filled_buffer(agent.config).sample()
    with torch.no_grad():
        agent.world_model.obs_decoder[-1].weight.zero_()
    _, _, metrics = agent.world_model.compute_loss(batch, None, noise_source())
    torch.testing.assert_close(metrics["loss/recon"], symlog(batch["obs"]).square().sum(-1).mean())


def test_gaussian_decoder_learns_a_scale_for_each_number() -> None:
    updater = tiny_updater(optimizer={"world_rate": 1e-2})
    agent = updater.agent
    buffer = filled_buffer(agent.config)
    for episode in buffer.episodes:
        episode.obs[:, 0] = 0.5  # one number is certain, the others are noise
    for _ in range(150):
        updater.train_step(buffer.sample())
    deviations = agent.world_model.decoder_log_std.exp()
    assert deviations[0] < 0.6 * deviations[1:].min()


def test_start_states_are_posteriors_of_rounds_that_go_on() -> None:
    agent = tiny_agent()
    batch = filled_buffer(agent.config).sample()
    batch["is_last"] = torch.zeros_like(batch["is_last"])
    batch["is_last"][:, 1:] = True
    _, posteriors, _ = agent.world_model.compute_loss(batch, None, noise_source())
    start = agent.world_model.get_start_states(posteriors, batch, 4, noise_source())
    assert start["h"].shape == (4, 16) and not start["h"].requires_grad
    allowed = posteriors["h"][:, 0]
    assert all((allowed == row).all(-1).any() for row in start["h"])


def test_imagination_predicts_rewards_and_continues_of_the_states_it_reaches() -> None:
    agent = tiny_agent()
    model = agent.world_model
    with torch.no_grad():
        for parameter in model.continue_head[-1].parameters():
            parameter.fill_(0.3)
    start = model.dynamics.initial(4)
    states, actions, rewards, continues = model.imagine(agent.behavior.policy, start, 5, noise_source())
    assert states["z"].shape == (6, 4, 16) and actions.shape == (5, 4, 2)
    assert rewards.shape == continues.shape == (5, 4)
    reached = torch.cat([states["h"], states["z"]], -1)[1:]
    torch.testing.assert_close(continues, torch.sigmoid(model.continue_head(reached)).squeeze(-1))
    assert not rewards.requires_grad and not states["h"].requires_grad


def test_terminal_states_teach_the_continue_head_and_time_outs_do_not() -> None:
    agent = tiny_agent()
    batch = filled_buffer(agent.config).sample()
    posteriors = {"h": torch.ones(6, 4, 16), "z": torch.ones(6, 4, 16)}

    def loss() -> torch.Tensor:
        return agent.world_model.head_losses(posteriors, batch)["continue"]

    batch["is_terminal"] = torch.zeros(6, 4, dtype=torch.bool)
    all_go_on = loss()
    batch["is_last"] |= True
    torch.testing.assert_close(loss(), all_go_on)
    batch["is_terminal"] |= True
    assert (loss() - all_go_on).abs() > 1e-3
