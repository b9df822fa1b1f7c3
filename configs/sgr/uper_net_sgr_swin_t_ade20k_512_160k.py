from ..common.sgr import add_sgr
from .uper_net_swin_t_ade20k_512_160k import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

sgr = add_sgr(model, dataloader, optimizer)
